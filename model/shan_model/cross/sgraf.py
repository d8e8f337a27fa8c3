"""SGRAF (Diao, Zhang, Ma, Lu, AAAI 2021): its two models, which its authors train apart and average."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from shan_model.config import GruConfig
from shan_model.cross.attention import cosines, rows_of_grid, word_weights
from shan_model.cross.similarity import Filtration, Reasoning
from shan_model.norms import BatchNorm, l2_normalise, masked_mean, masked_softmax, safe_sqrt
from shan_model.recurrent import GruModel
from shan_model.retrieval import GridScores, Terms

SMOOTH = 9.0
BATCH_EPSILON = 1e-5


@dataclass(frozen=True, kw_only=True)
class SgrafConfig(GruConfig):
    """`module` is `sgr` (graph reasoning, in `reasoning_steps`) or `saf` (attention filtration).

    An image has at most `most_regions` regions: each place has statistics of its own. A similarity is a vector of
    `similarity_dim` numbers.
    """

    model: ClassVar[str] = "sgraf"
    module: str = "saf"
    most_regions: int = 36
    similarity_dim: int = 256
    reasoning_steps: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        self.demand_one_of("module", ("sgr", "saf"))
        self.demand_counts("most_regions", "similarity_dim", "reasoning_steps")


class PlaceNorm(BatchNorm):
    """Batch normalisation of B x K x D for each of the K places; fewer places use the first statistics."""

    def forward(self, x: Tensor) -> Tensor:
        """Training updates the statistics by batches in which images have all places."""
        if self.training and x.shape[1] == self.weight.shape[0]:
            return super().forward(x)
        scale = self.weight / (self.running_var + BATCH_EPSILON).sqrt()
        shift = self.bias - self.running_mean * scale
        places = torch.arange(x.shape[1], device=x.device).clamp_max(self.weight.shape[0] - 1)
        return x * scale[places][:, None] + shift[places][:, None]


class WholeSide(nn.Module):
    """One vector of length 1 of a side's rows, weighted by how each goes with their mean."""

    def __init__(self, dim: int, *, local_norm: nn.Module, whole_norm: nn.Module) -> None:
        super().__init__()
        self.local, self.whole, self.weigh = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, 1)
        self.local_norm, self.whole_norm = local_norm, whole_norm

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Rows X x n x D and their mask to X x D."""
        mean = masked_mean(rows.transpose(1, 2), mask[:, None, :])
        local, whole = self.local_norm(self.local(rows)).tanh(), self.whole_norm(self.whole(mean)).tanh()
        weights = masked_softmax(self.weigh(local * whole[:, None])[..., 0], mask, dim=-1)
        return l2_normalise((weights[:, None] @ rows)[:, 0])


class Sgraf(GruModel):
    """The score is a logistic of what is made of n + 1 similarity vectors: of both sides as wholes, and of n words."""

    Config = SgrafConfig
    summary = "similarity vectors, reasoned over or filtered (SGRAF, Diao et al., AAAI 2021)"
    keeps_regions = True
    config: SgrafConfig

    def __init__(self, config: SgrafConfig) -> None:
        super().__init__(config)
        dim, size = config.embed_dim, config.similarity_dim
        norms = {"local_norm": PlaceNorm(config.most_regions), "whole_norm": BatchNorm(dim)}
        self.image_whole = WholeSide(dim, **norms)
        self.text_whole = WholeSide(dim, local_norm=nn.Identity(), whole_norm=nn.Identity())
        self.of_words, self.of_wholes = nn.Linear(dim, size), nn.Linear(dim, size)
        self.judge = Reasoning(size, config.reasoning_steps) if config.module == "sgr" else Filtration(size)
        self.score = nn.Linear(size, 1)

    def image_terms(self, regions: Tensor, region_mask: Tensor) -> Terms:
        """V, its mask, its Gram matrix and the vector of the whole image."""
        whole = self.image_whole(regions, region_mask)
        gram = regions @ regions.transpose(-1, -2)
        return {"image_regions": regions, "region_mask": region_mask, "image_gram": gram, "whole_image_vector": whole}

    def caption_terms(self, words: Tensor, word_mask: Tensor) -> Terms:
        """T, its mask and the vector of the whole caption."""
        whole = self.text_whole(words, word_mask)
        return {"caption_words": words, "word_mask": word_mask, "whole_caption_vector": whole}

    def score_grid(self, image: Terms, caption: Terms, *, last_step: str | None = None) -> GridScores:
        """Score every image with every caption. The length of what a word sees needs only the Gram matrix of V."""
        regions, region_mask, words, word_mask = rows_of_grid(image, caption, "image_regions")
        weights = word_weights(cosines(regions, region_mask, words, word_mask), region_mask, smooth=SMOOTH)
        captions, n = weights.shape[1:3]
        rows = weights.flatten(1, 2)  # B x Cn x K
        lengths = safe_sqrt(((rows @ image["image_gram"]) * rows).sum(-1, keepdim=True))
        apart = torch.baddbmm(words.flatten(1, 2), rows / -lengths, regions[:, 0])
        of_words = self.of_words(apart * apart).unflatten(1, (captions, n))
        wholes = image["whole_image_vector"][:, None], caption["whole_caption_vector"][None]
        scores = self._judged(of_words, word_mask, *wholes)
        return GridScores(scores, scores[..., None], weights)

    def pair_scores(self, regions: Tensor, region_mask: Tensor, words: Tensor, word_mask: Tensor) -> Tensor:
        """Score aligned pairs, P x 1, from the vectors that words see."""
        wholes = self.image_whole(regions, region_mask), self.text_whole(words, word_mask)
        weights = word_weights(cosines(regions, region_mask, words, word_mask), region_mask, smooth=SMOOTH)
        of_words = self.of_words((l2_normalise(weights @ regions) - words).square())
        return self._judged(of_words, word_mask, *wholes)[:, None]

    def _judged(self, of_words: Tensor, word_mask: Tensor, image: Tensor, caption: Tensor) -> Tensor:
        """Scores from words' similarities ... x n x size, their mask and whole sides, which broadcast."""
        of_wholes = l2_normalise(self.of_wholes((image - caption).square()))
        similarities = torch.cat([of_wholes[..., None, :], l2_normalise(of_words)], dim=-2)
        seen = torch.cat([torch.ones_like(word_mask[..., :1]), word_mask], dim=-1).expand(similarities.shape[:-1])
        return torch.sigmoid(self.score(self.judge(similarities, seen))[..., 0])
