"""SHAN: two encoders and the stepwise alignment (Ji, Chen, Wang, IJCAI 2021)."""

from __future__ import annotations

from torch import Tensor

from shan_model.config import AlignedConfig, ShanConfig
from shan_model.recurrent import GruModel
from shan_model.retrieval import GridScores, RetrievalModel, Terms
from shan_model.shan import factorised, local
from shan_model.shan.alignment import Alignment


class AlignedModel(RetrievalModel):
    """A model whose score is SHAN's stepwise alignment."""

    config: AlignedConfig

    def __init__(self, config: AlignedConfig) -> None:
        super().__init__(config)
        self.alignment = Alignment(
            embed_dim=config.embed_dim,
            temperature=config.temperature,
            direction=config.direction,
            steps=config.steps,
        )
        self.steps = config.steps

    def image_terms(self, regions: Tensor, region_mask: Tensor) -> Terms:
        """See `factorised.image_terms`."""
        return factorised.image_terms(self.alignment, regions, region_mask)

    def caption_terms(self, words: Tensor, word_mask: Tensor) -> Terms:
        """See `factorised.caption_terms`."""
        return factorised.caption_terms(self.alignment, words, word_mask)

    def score_grid(self, image: Terms, caption: Terms, *, last_step: str | None = None) -> GridScores:
        """See `factorised.score_grid`."""
        return factorised.score_grid(self.alignment, image, caption, last_step=last_step)

    def compiled_first_step(self, image: Terms, caption: Terms) -> Tensor | None:
        """See `local.local_scores`."""
        if not local.can_score(image, caption):
            return None
        return local.local_scores(image, caption, self.alignment.region_weight, self.alignment.word_weight)

    def kernel_constants(self) -> dict[str, Tensor]:
        """See `alignment.Alignment.kernel_constants`."""
        return self.alignment.kernel_constants()

    def pair_scores(self, regions: Tensor, region_mask: Tensor, words: Tensor, word_mask: Tensor) -> Tensor:
        """See `alignment.Alignment`."""
        scores: Tensor = self.alignment(regions, region_mask, words, word_mask)
        return scores


class Shan(AlignedModel, GruModel):
    """The plain model; its parameters' names are the checkpoint's."""

    Config = ShanConfig
    summary = "words and regions look at each other, in up to three steps (SHAN, Ji et al., IJCAI 2021)"
    config: ShanConfig
