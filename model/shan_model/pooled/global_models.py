"""Baselines that compare one vector per image with one per caption."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from shan_engine.base.errors import InputError
from torch import Tensor, nn

from shan_model.config import GruConfig
from shan_model.norms import l2_normalise, masked_mean, masked_softmax
from shan_model.recurrent import GruModel
from shan_model.retrieval import GridScores, RetrievalModel, Terms


class GlobalModel(RetrievalModel):
    """A model whose score is the cosine of two vectors."""

    explains = False

    @abstractmethod
    def image_vector(self, regions: Tensor, region_mask: Tensor) -> Tensor:
        """V (B x K x D) and its mask to vectors of length 1, B x D."""

    @abstractmethod
    def caption_vector(self, words: Tensor, word_mask: Tensor) -> Tensor:
        """T (C x n x D) and its mask to vectors of length 1, C x D."""

    def image_terms(self, regions: Tensor, region_mask: Tensor) -> Terms:
        """The vector alone."""
        return {"image_vector": self.image_vector(regions, region_mask)}

    def caption_terms(self, words: Tensor, word_mask: Tensor) -> Terms:
        """The vector alone."""
        return {"caption_vector": self.caption_vector(words, word_mask)}

    def score_grid(self, image: Terms, caption: Terms, *, last_step: str | None = None) -> GridScores:
        """Score every image with every caption."""
        scores = image["image_vector"] @ caption["caption_vector"].T
        return GridScores(scores, scores[..., None], None)

    def pair_scores(self, regions: Tensor, region_mask: Tensor, words: Tensor, word_mask: Tensor) -> Tensor:
        """Cosines of P aligned pairs, P x 1."""
        image, caption = self.image_vector(regions, region_mask), self.caption_vector(words, word_mask)
        return (image * caption).sum(-1, keepdim=True)


@dataclass(frozen=True, kw_only=True)
class VseConfig(GruConfig):
    """VSE++ has no settings of its own."""

    model: ClassVar[str] = "vse"


class Vse(GlobalModel, GruModel):
    """VSE++ (Faghri, Fleet, Kiros, Fidler, BMVC 2018) on regions: the mean of a side's rows, scaled to length 1."""

    Config = VseConfig
    summary = "cosine of mean region and mean word (VSE++, Faghri et al., BMVC 2018)"

    def image_vector(self, regions: Tensor, region_mask: Tensor) -> Tensor:
        """The mean region."""
        return l2_normalise(masked_mean(regions.transpose(1, 2), region_mask[:, None, :]))

    def caption_vector(self, words: Tensor, word_mask: Tensor) -> Tensor:
        """The mean word."""
        return l2_normalise(masked_mean(words.transpose(1, 2), word_mask[:, None, :]))


@dataclass(frozen=True, kw_only=True)
class TernConfig(GruConfig):
    """`layers` transformer layers of `heads` heads on each side."""

    model: ClassVar[str] = "tern"
    layers: int = 1
    heads: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        self.demand_counts("layers", "heads")
        if self.embed_dim % self.heads:
            raise InputError(f"the model's heads are {self.heads}: they must divide embed_dim {self.embed_dim}")


class Tern(GlobalModel, GruModel):
    """Transformer pooling after TERN (Messina et al., ICPR 2020): an extra token pools each side's rows."""

    Config = TernConfig
    summary = "cosine of what a transformer gathers on each side (after TERN)"

    def __init__(self, config: TernConfig) -> None:
        super().__init__(config)
        self.image_pool = TransformerPool(config.embed_dim, config.heads, config.layers)
        self.text_pool = TransformerPool(config.embed_dim, config.heads, config.layers)

    def image_vector(self, regions: Tensor, region_mask: Tensor) -> Tensor:
        """The image side's pooled vector."""
        pooled: Tensor = self.image_pool(regions, region_mask)
        return pooled

    def caption_vector(self, words: Tensor, word_mask: Tensor) -> Tensor:
        """The text side's pooled vector."""
        pooled: Tensor = self.text_pool(words, word_mask)
        return pooled


class TransformerPool(nn.Module):
    """Rows X x L x D of length 1 and their mask to one vector of length 1 each, X x D."""

    def __init__(self, dim: int, heads: int, layers: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(dim))
        self.layers = nn.ModuleList(TransformerLayer(dim, heads) for _ in range(layers))

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Run the layers over the rows, with the extra token first."""
        x = torch.cat([self.token.expand(rows.shape[0], 1, -1), rows], dim=1)
        seen = torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)
        for layer in self.layers:
            x = layer(x, seen)
        return l2_normalise(x[:, 0])


class TransformerLayer(nn.Module):
    """Attention and a two-layer network, each after a layer norm and with a residual connection."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_mlp = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query_key_value, self.output = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """X x L x D to the same."""
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.query_key_value(self.norm_attention(x)).chunk(3, dim=-1)
        )
        affinity = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        attended = masked_softmax(affinity, mask[:, None, None, :], dim=-1) @ value
        x = x + self.output(attended.transpose(1, 2).flatten(2))
        gathered: Tensor = x + self.mlp(self.norm_mlp(x))
        return gathered
