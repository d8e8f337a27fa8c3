"""CHAN (Pan, Wu, Zhang, CVPR 2023): each word counts by its best region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from shan_engine.base.errors import InputError
from torch import Tensor, nn

from shan_model.choices import POOLINGS
from shan_model.config import GruConfig, ModelConfig
from shan_model.cross.attention import cosines, rows_of_grid
from shan_model.norms import MASKED, l2_normalise, masked_mean
from shan_model.recurrent import GruModel
from shan_model.retrieval import GridScores, RetrievalModel, Terms
from shan_model.transformer import SelfAttention


@dataclass(frozen=True, kw_only=True)
class ChanSettings(ModelConfig):
    """`pooling` of the words' best cosines: LogSumExp of them over `pooling_temperature` (lse), or their mean.

    With `self_attention`, an image's regions first look at each other, with `heads` heads.
    """

    pooling: str = "lse"
    pooling_temperature: float = 0.1
    self_attention: bool = True
    heads: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        self.demand_one_of("pooling", POOLINGS)
        self.demand_one_of("self_attention", (True, False))
        self.demand_positive("pooling_temperature")
        self.demand_counts("heads")
        if self.self_attention and self.embed_dim % self.heads:
            raise InputError(f"the model's heads are {self.heads}: they must divide embed_dim {self.embed_dim}")


@dataclass(frozen=True, kw_only=True)
class ChanConfig(ChanSettings, GruConfig):
    """CHAN whose captions are read by the GRU."""

    model: ClassVar[str] = "chan"


class RegionLayer(nn.Module):
    """y = x + MHA(LN x)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(dim), SelfAttention(dim, heads)

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Rows B x K x D and their mask to the same shape."""
        attended: Tensor = rows + self.attention(self.norm(rows), mask)
        return attended


class ChanScores(RetrievalModel):
    """The score, whatever reads the captions. Regions of a gallery are those that have looked at each other."""

    config: ChanSettings

    def __init__(self, config: ChanSettings) -> None:
        super().__init__(config)
        self.region_layer = RegionLayer(config.embed_dim, config.heads) if config.self_attention else None

    def build_image_encoder(self) -> nn.Module:
        """A linear layer; its rows are not scaled."""
        return nn.Linear(self.config.feature_dim, self.config.embed_dim)

    def image_terms(self, regions: Tensor, region_mask: Tensor) -> Terms:
        """Rows of length 1 and their mask."""
        rows = self.region_layer(regions, region_mask) if self.region_layer else regions
        return {"seen_rows": l2_normalise(rows) * region_mask[..., None], "region_mask": region_mask}

    def caption_terms(self, words: Tensor, word_mask: Tensor) -> Terms:
        """T and its mask."""
        return {"caption_words": words, "word_mask": word_mask}

    def score_grid(self, image: Terms, caption: Terms, *, last_step: str | None = None) -> GridScores:
        """Score every image with every caption; a word's weight over regions is all on its best."""
        scores, best = self._scores(*rows_of_grid(image, caption, "seen_rows"))
        return GridScores(scores, scores[..., None], best)

    def pair_scores(self, regions: Tensor, region_mask: Tensor, words: Tensor, word_mask: Tensor) -> Tensor:
        """Score aligned pairs, P x 1."""
        rows = self.image_terms(regions, region_mask)["seen_rows"]
        return self._scores(rows, region_mask, words, word_mask)[0][:, None]

    def _scores(self, regions: Tensor, region_mask: Tensor, words: Tensor, word_mask: Tensor) -> tuple[Tensor, Tensor]:
        found = cosines(regions, region_mask, words, word_mask).masked_fill(~region_mask[..., :, None], MASKED)
        highest = found.amax(-2)
        best = (found == highest[..., None, :]).to(found.dtype).transpose(-1, -2)
        if self.config.pooling == "mean":
            return masked_mean(highest, word_mask), best
        scaled = (highest / self.config.pooling_temperature).masked_fill(~word_mask, MASKED)
        return torch.logsumexp(scaled, dim=-1), best


class Chan(ChanScores, GruModel):
    """CHAN with the GRU."""

    Config = ChanConfig
    summary = "each word counts by its best region (CHAN, Pan et al., CVPR 2023)"
    config: ChanConfig
