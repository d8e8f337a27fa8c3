"""ESA (Zhu, Zhang, Wei, et al., TCSVT 2023): rows pooled by attention for each dimension."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from shan_model.config import GruConfig
from shan_model.norms import masked_softmax
from shan_model.pooled.rows import PooledModel
from shan_model.recurrent import GruModel


class AttentionPool(nn.Module):
    """Pools rows by the sum over k of softmax_k(W h_k + b) * h_k, for each dimension apart."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.attention = nn.Linear(dim, dim)

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Rows X x n x D and their mask to X x D."""
        return (masked_softmax(self.attention(rows), mask[..., None], dim=1) * rows).sum(1)


@dataclass(frozen=True, kw_only=True)
class EsaConfig(GruConfig):
    """ESA has no settings of its own."""

    model: ClassVar[str] = "esa"


class Esa(PooledModel, GruModel):
    """Both sides are pooled by attention; captions are read by the GRU."""

    Config = EsaConfig
    summary = "cosine of vectors pooled by attention (ESA, Zhu et al., TCSVT 2023)"
    unit_words = False

    def __init__(self, config: EsaConfig) -> None:
        super().__init__(config)
        self.image_pool, self.text_pool = AttentionPool(config.embed_dim), AttentionPool(config.embed_dim)
