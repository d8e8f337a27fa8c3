"""MLASM (Jiang, Lian, ICANN 2022): attention both ways, and one vector a side made of what each side attends to.

The published code makes the second part of each side's vector from its true partner at test time too, so it cannot
score an unseen query. Here it is made for each pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from shan_model.config import GruConfig
from shan_model.cross.attention import attended, cosines, region_weights, rows_of_grid, word_weights
from shan_model.norms import cosine, l2_normalise, masked_mean
from shan_model.recurrent import GruModel
from shan_model.retrieval import GridScores, Terms

SMOOTH_WORDS, SMOOTH_REGIONS = 9.0, 4.0
LOCAL_SHARE = 0.8


@dataclass(frozen=True, kw_only=True)
class MlasmConfig(GruConfig):
    """With `whole_dim` above 0, the last numbers of each region's feature are the whole image's, as many as that.

    Only then does the score have its second part.
    """

    model: ClassVar[str] = "mlasm"
    bidirectional: bool = False
    whole_dim: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        allowed = range(self.feature_dim)
        self.demand(["whole_dim"], lambda value: value in allowed, f"a whole number below {self.feature_dim}")


class RegionsAndWhole(nn.Module):
    """V_k = l2(W_r f_k + b_r), and a = W_f l2(x) + b_f beside each, if the features have the whole image's x."""

    def __init__(self, config: MlasmConfig) -> None:
        super().__init__()
        self.whole_dim = config.whole_dim
        self.regions = nn.Linear(config.feature_dim - config.whole_dim, config.embed_dim)
        self.whole = nn.Linear(config.whole_dim, config.embed_dim) if config.whole_dim else None

    def forward(self, features: Tensor) -> Tensor:
        """Features B x K x F to B x K x D, or B x K x 2D."""
        if self.whole is None:
            return l2_normalise(self.regions(features))
        own, whole = features[..., : -self.whole_dim], features[..., -self.whole_dim :]
        return torch.cat([l2_normalise(self.regions(own)), self.whole(l2_normalise(whole))], dim=-1)


class Mlasm(GruModel):
    """S = 0.8 times the mean cosine of rows with what they attend to, plus 0.2 times the cosine of two vectors."""

    Config = MlasmConfig
    summary = "attention both ways (MLASM's local part, Jiang and Lian, ICANN 2022)"
    config: MlasmConfig

    def __init__(self, config: MlasmConfig) -> None:
        super().__init__(config)
        dim = config.embed_dim
        if config.whole_dim:
            self.from_regions, self.from_words = nn.Linear(dim, dim), nn.Linear(dim, dim)
            self.gate = nn.Linear(2 * dim, dim)

    def build_image_encoder(self) -> nn.Module:
        """Two linear layers."""
        return RegionsAndWhole(self.config)

    def image_terms(self, regions: Tensor, region_mask: Tensor) -> Terms:
        """V, its mask and the whole image's vector."""
        rows = regions[..., : self.config.embed_dim] * region_mask[..., None]
        terms = {"seen_rows": rows, "region_mask": region_mask}
        if not self.config.whole_dim:
            return terms
        wholes = regions[..., self.config.embed_dim :].transpose(1, 2)  # all the same
        return {**terms, "whole_image_vector": masked_mean(wholes, region_mask[:, None, :])}

    def caption_terms(self, words: Tensor, word_mask: Tensor) -> Terms:
        """T and its mask."""
        return {"caption_words": words, "word_mask": word_mask}

    def score_grid(self, image: Terms, caption: Terms, *, last_step: str | None = None) -> GridScores:
        """Score every image with every caption."""
        whole = image["whole_image_vector"][:, None] if self.config.whole_dim else None
        scores, weights = self._scores(*rows_of_grid(image, caption, "seen_rows"), whole)
        return GridScores(scores, scores[..., None], weights)

    def pair_scores(self, regions: Tensor, region_mask: Tensor, words: Tensor, word_mask: Tensor) -> Tensor:
        """Score aligned pairs, P x 1."""
        image = self.image_terms(regions, region_mask)
        whole = image.get("whole_image_vector")
        return self._scores(image["seen_rows"], region_mask, words, word_mask, whole)[0][:, None]

    def _scores(
        self, regions: Tensor, region_mask: Tensor, words: Tensor, word_mask: Tensor, whole: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        found = cosines(regions, region_mask, words, word_mask)
        weights = word_weights(found, region_mask, smooth=SMOOTH_WORDS)
        seen = attended(weights, regions)  # u, ... x n x D
        read = region_weights(found, word_mask, smooth=SMOOTH_REGIONS) @ words  # z, ... x K x D
        local = masked_mean(cosine(regions, read), region_mask) / 2 + masked_mean(cosine(words, seen), word_mask) / 2
        if whole is None:
            return local, weights
        mean_seen = masked_mean(seen.transpose(-1, -2), word_mask[..., None, :])
        mean_read = masked_mean(read.transpose(-1, -2), region_mask[..., None, :])
        from_pair = self.from_regions(mean_seen)
        own = whole.expand(from_pair.shape)
        gate = torch.sigmoid(self.gate(torch.cat([own, from_pair], dim=-1)))
        image = gate * own + (1 - gate) * from_pair
        return LOCAL_SHARE * local + (1 - LOCAL_SHARE) * cosine(image, self.from_words(mean_read)), weights
