"""TERN as published (Messina, Falchi, Esuli, Amato, ICPR 2020): boxes, BERT, and layers that both sides share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from shan_engine.base.errors import InputError
from torch import Tensor, nn

from shan_model.bert.text_encoder import BertModel, BertTextConfig
from shan_model.norms import l2_normalise
from shan_model.pooled.global_models import GlobalModel
from shan_model.transformer import PostNormLayer, run_layers


@dataclass(frozen=True, kw_only=True)
class TernBertConfig(BertTextConfig):
    """Regions have `region_layers` of size `region_dim` of their own, then both sides `shared_layers` of `embed_dim`.

    All have `heads` heads and `hidden` numbers inside. A feature ends in its box, as `import --boxes` writes it: four
    shares of the image's width and height, and its area.
    """

    model: ClassVar[str] = "tern-bert"
    text_layers: int = 6
    region_dim: int = 2048
    region_layers: int = 4
    shared_layers: int = 2
    heads: int = 4
    hidden: int = 2048

    def __post_init__(self) -> None:
        super().__post_init__()
        self.demand_counts("region_dim", "region_layers", "shared_layers", "heads", "hidden")
        if self.embed_dim % self.heads or self.region_dim % self.heads:
            raise InputError(f"the model's heads are {self.heads}: they must divide embed_dim and region_dim")


class RegionsAndBoxes(nn.Module):
    """h_k = W2 ReLU(W1 g_k + c1) + c2, g_k being the feature with its box."""

    def __init__(self, feature_dim: int, dim: int) -> None:
        super().__init__()
        self.hidden, self.output = nn.Linear(feature_dim, dim), nn.Linear(dim, dim)

    def forward(self, features: Tensor) -> Tensor:
        """Features B x K x F to rows h, B x K x `region_dim`."""
        rows: Tensor = self.output(self.hidden(features).relu())
        return rows


class TernBert(GlobalModel, BertModel):
    """The cosine of what the first row of each side gathers: a region of zeros, and BERT's [CLS]."""

    Config = TernBertConfig
    summary = "cosine of what transformers gather, with boxes and BERT (TERN, Messina et al., ICPR 2020)"
    unit_words = False
    config: TernBertConfig

    def __init__(self, config: TernBertConfig) -> None:
        super().__init__(config)
        self.region_layers = nn.ModuleList(
            PostNormLayer(config.region_dim, config.heads, config.hidden) for _ in range(config.region_layers)
        )
        self.region_projection = nn.Linear(config.region_dim, config.embed_dim)
        self.shared_layers = nn.ModuleList(
            PostNormLayer(config.embed_dim, config.heads, config.hidden) for _ in range(config.shared_layers)
        )

    def build_image_encoder(self) -> nn.Module:
        """Two linear layers over a feature with its box."""
        return RegionsAndBoxes(self.config.feature_dim, self.config.region_dim)

    def image_vector(self, regions: Tensor, region_mask: Tensor) -> Tensor:
        """What the region of zeros gathers."""
        zeros = regions.new_zeros(regions.shape[0], 1, self.config.feature_dim)
        rows = torch.cat([self.image_encoder(zeros), regions], dim=1)
        mask = torch.cat([torch.ones_like(region_mask[:, :1]), region_mask], dim=1)
        rows = self.region_projection(run_layers(self.region_layers, rows, mask))
        return l2_normalise(run_layers(self.shared_layers, rows, mask)[:, 0])

    def caption_vector(self, words: Tensor, word_mask: Tensor) -> Tensor:
        """What [CLS] gathers."""
        return l2_normalise(run_layers(self.shared_layers, words, word_mask)[:, 0])
