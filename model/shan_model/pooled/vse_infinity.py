"""VSE∞ (Chen, Hu, Wu, Jiang, Changpinyo, CVPR 2021) on region features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from shan_model.config import GruConfig
from shan_model.pooled.gpo import Gpo
from shan_model.pooled.rows import PooledModel
from shan_model.recurrent import GruModel


@dataclass(frozen=True, kw_only=True)
class VseInfinityConfig(GruConfig):
    """VSE∞ has no settings of its own."""

    model: ClassVar[str] = "vse-infinity"


class VseInfinity(PooledModel, GruModel):
    """Both sides are pooled by a generalised pooling operator; captions are read by the GRU."""

    Config = VseInfinityConfig
    summary = "cosine of vectors pooled by sorted values (VSE∞, Chen et al., CVPR 2021)"
    keeps_regions = True  # the weights of ranks depend on their number
    unit_words = False
    image_pool: Gpo
    text_pool: Gpo

    def __init__(self, config: VseInfinityConfig) -> None:
        super().__init__(config)
        self.image_pool, self.text_pool = Gpo(), Gpo()
