"""What every model here is: two encoders into one space, and a score made of one side's terms each.

A model is a file beside this one with its configuration, named in `registry.py`. It says its score twice:
`pair_scores` plainly, pair by pair, and `score_grid` from terms, as training and the exported graphs compute it;
export proves the two equal.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from shan_model.config import ModelConfig
from shan_model.encoders import ImageEncoder, TextEncoder

Terms = dict[str, Tensor]


class GridScores(NamedTuple):
    """`scores` B x C, their parts `step_scores` B x C x steps, words' weights over regions B x C x n x K or None."""

    scores: Tensor
    step_scores: Tensor
    word_attention: Tensor | None


class RetrievalModel(nn.Module, ABC):
    """Base of the models; `steps` names the parts of its score."""

    Config: ClassVar[type[ModelConfig]]
    steps: tuple[str, ...] = ("score",)

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = ImageEncoder(feature_dim=config.feature_dim, embed_dim=config.embed_dim)
        self.text_encoder = TextEncoder(
            vocab_size=config.vocab_size,
            word_vector_dim=config.word_vector_dim,
            embedding_dim=config.embedding_dim,
            embed_dim=config.embed_dim,
        )

    @abstractmethod
    def image_terms(self, regions: Tensor, region_mask: Tensor) -> Terms:
        """All of an image that no caption changes, from V (B x K x D, rows of length 1) and its mask (B x K).

        A term is B x K x anything, B x K x K where its name ends in `_gram`, B x D where it ends in `_vector`.
        Where V is among them, as `image_regions`, it is all that a gallery stores: the rest is made from it again.
        """

    @abstractmethod
    def caption_terms(self, words: Tensor, word_mask: Tensor) -> Terms:
        """All of a caption that no image changes, from T (C x n x D, rows of length 1) and its mask (C x n).

        A term is C x n x anything, C x n x n where its name ends in `_gram`; the mask among them, as `word_mask`, has
        training score captions of like length together. Without it a term is C x D, a vector.
        """

    @abstractmethod
    def score_grid(self, image: Terms, caption: Terms, *, last_step: str | None = None) -> GridScores:
        """Every image with every caption, by all steps or those up to `last_step`.

        Of a model of several steps the loss also asks for aligned pairs: terms with a leading axis P on both sides, as
        P grids of B = C = 1, and scores P x 1 x 1.
        """

    def compiled_first_step(self, image: Terms, caption: Terms) -> Tensor | None:
        """Scores B x C by the first step from compiled code, with gradients; None where there is none for them."""
        return None

    def kernel_constants(self) -> dict[str, Tensor]:
        """What the engine's compiled kernel needs to score SHAN's terms; empty for a model that it cannot score."""
        return {}

    @abstractmethod
    def pair_scores(self, regions: Tensor, region_mask: Tensor, words: Tensor, word_mask: Tensor) -> Tensor:
        """The plain definition: V, T and their masks of P aligned pairs to step scores, P x steps."""

    def forward(self, features: Tensor, region_mask: Tensor, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Scores of P aligned pairs: features P x K x F, mask P x K, tokens P x n, lengths P to P."""
        regions = self.image_encoder(features)
        words, word_mask = self.text_encoder(tokens, lengths)
        return self.pair_scores(regions, region_mask, words, word_mask).sum(-1)
