"""VSE∞ and ESA whose captions are read by BERT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from shan_model.bert.text_encoder import BertModel, BertTextConfig
from shan_model.pooled.esa import AttentionPool
from shan_model.pooled.gpo import Gpo
from shan_model.pooled.rows import PooledModel


@dataclass(frozen=True, kw_only=True)
class VseInfinityBertConfig(BertTextConfig):
    """VSE∞ has no settings of its own."""

    model: ClassVar[str] = "vse-infinity-bert"


class VseInfinityBert(PooledModel, BertModel):
    """Both sides are pooled by a generalised pooling operator."""

    Config = VseInfinityBertConfig
    summary = "VSE∞ with BERT"
    unit_words = False
    image_pool: Gpo
    text_pool: Gpo

    def __init__(self, config: VseInfinityBertConfig) -> None:
        super().__init__(config)
        self.image_pool, self.text_pool = Gpo(), Gpo()


@dataclass(frozen=True, kw_only=True)
class EsaBertConfig(BertTextConfig):
    """ESA has no settings of its own."""

    model: ClassVar[str] = "esa-bert"


class EsaBert(PooledModel, BertModel):
    """Both sides are pooled by attention for each dimension."""

    Config = EsaBertConfig
    summary = "ESA with BERT"
    unit_words = False

    def __init__(self, config: EsaBertConfig) -> None:
        super().__init__(config)
        self.image_pool, self.text_pool = AttentionPool(config.embed_dim), AttentionPool(config.embed_dim)
