"""SCAN: stacked cross attention (Lee, Chen, Hua, Hu, He, ECCV 2018), one direction at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from shan_model.choices import POOLINGS
from shan_model.config import GruConfig, is_number
from shan_model.norms import MASKED, cosine, leaky_unit, masked_mean, masked_softmax, safe_sqrt
from shan_model.recurrent import GruModel
from shan_model.retrieval import GridScores, Terms


@dataclass(frozen=True, kw_only=True)
class ScanConfig(GruConfig):
    """`direction` is which side attends: words to regions (t2i) or regions to words (i2t).

    `pooling` of the attended cosines: LogSumExp with `pooling_temperature` (lse), or their mean. Cosines below 0 count
    `negative_slope` of themselves in the attention: 0 in the paper, 0.1 in its public code.
    """

    model: ClassVar[str] = "scan"
    later: ClassVar[frozenset[str]] = GruConfig.later | {"negative_slope"}
    direction: str = "t2i"
    pooling: str = "lse"
    temperature: float = 9.0
    pooling_temperature: float = 6.0
    negative_slope: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.demand_positive("temperature", "pooling_temperature")
        self.demand(["negative_slope"], lambda value: is_number(value, int, float) and 0 <= value < 1, "from 0 to 1")
        self.demand_one_of("direction", ("t2i", "i2t"))
        self.demand_one_of("pooling", POOLINGS)


class Scan(GruModel):
    """SCAN t2i or i2t. The length of an attended vector needs only the Gram matrix of the rows it sums."""

    Config = ScanConfig
    summary = "words look at regions, or regions at words (SCAN, Lee et al., ECCV 2018)"

    def __init__(self, config: ScanConfig) -> None:
        super().__init__(config)
        self.by_word, self.lse = config.direction == "t2i", config.pooling == "lse"
        self.temperature, self.pooling_temperature = config.temperature, config.pooling_temperature
        self.slope = config.negative_slope

    def image_terms(self, regions: Tensor, region_mask: Tensor) -> Terms:
        """V, its mask and, if words attend to it, its Gram matrix."""
        terms = {"image_regions": regions, "region_mask": region_mask}
        return {**terms, "image_gram": regions @ regions.transpose(-1, -2)} if self.by_word else terms

    def caption_terms(self, words: Tensor, word_mask: Tensor) -> Terms:
        """T, its mask and, if regions attend to it, its Gram matrix."""
        terms = {"caption_words": words, "word_mask": word_mask}
        return terms if self.by_word else {**terms, "caption_gram": words @ words.transpose(-1, -2)}

    def score_grid(self, image: Terms, caption: Terms, *, last_step: str | None = None) -> GridScores:
        """Score every image with every caption."""
        V, T = image["image_regions"], caption["caption_words"]
        B, K, _ = V.shape
        C, n, _ = T.shape
        cosines = (V.flatten(0, 1) @ T.flatten(0, 1).T).reshape(B, K, C, n).transpose(1, 2)  # B x C x K x n
        region_mask, word_mask = image["region_mask"][:, None, :], caption["word_mask"][None, :, :]
        weights = self.attention(cosines, region_mask, word_mask)
        if self.by_word:
            rows = weights.transpose(-1, -2).flatten(1, 2)  # B x Cn x K
            lengths = (rows @ image["image_gram"]).reshape(B, C, n, K).transpose(-1, -2)
            scores = self.pool((weights * cosines).sum(-2) / safe_sqrt((weights * lengths).sum(-2)), word_mask)
        else:
            rows = weights.transpose(0, 1).flatten(1, 2)  # C x BK x n
            lengths = (rows @ caption["caption_gram"]).reshape(C, B, K, n).transpose(0, 1)
            scores = self.pool((weights * cosines).sum(-1) / safe_sqrt((weights * lengths).sum(-1)), region_mask)
        return GridScores(scores, scores[..., None], weights.transpose(-1, -2) if self.by_word else None)

    def pair_scores(self, regions: Tensor, region_mask: Tensor, words: Tensor, word_mask: Tensor) -> Tensor:
        """Score as in the paper, from the attended vectors themselves."""
        weights = self.attention(regions @ words.transpose(1, 2), region_mask, word_mask)
        if self.by_word:
            scores = self.pool(cosine(words, weights.transpose(1, 2) @ regions), word_mask)
        else:
            scores = self.pool(cosine(regions, weights @ words), region_mask)
        return scores[:, None]

    def attention(self, cosines: Tensor, region_mask: Tensor, word_mask: Tensor) -> Tensor:
        """Weights from cosines ... x K x n: LeakyReLU, scaled to length 1 over the attending side, softmax."""
        attending, attended = (-1, -2) if self.by_word else (-2, -1)
        cosines = cosines * region_mask[..., :, None] * word_mask[..., None, :]
        if self.slope:
            scaled = leaky_unit(cosines, slope=self.slope, dim=attending)
        else:
            positive = cosines.clamp_min(0)
            scaled = positive / safe_sqrt((positive * positive).sum(attending, keepdim=True))
        mask = region_mask[..., :, None] if self.by_word else word_mask[..., None, :]
        return masked_softmax(self.temperature * scaled, mask, dim=attended)

    def pool(self, relevances: Tensor, mask: Tensor) -> Tensor:
        """Pool relevances ... x n over the attending side into one score each."""
        if not self.lse:
            return masked_mean(relevances, mask)
        scaled = (self.pooling_temperature * relevances).masked_fill(~mask, MASKED)
        return torch.logsumexp(scaled, dim=-1) / self.pooling_temperature
