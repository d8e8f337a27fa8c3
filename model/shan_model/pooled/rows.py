"""What VSE∞ and ESA share: an encoder of regions, and one vector a side by a module that pools rows."""

from __future__ import annotations

from torch import Tensor, nn

from shan_model.norms import BatchNorm, l2_normalise
from shan_model.pooled.global_models import GlobalModel


class RegionMlp(nn.Module):
    """h_k = W f_k + b + W2 ReLU(BN(W1 f_k + b1)) + b2. The rows are not scaled."""

    def __init__(self, *, feature_dim: int, embed_dim: int) -> None:
        super().__init__()
        hidden = embed_dim // 2
        self.fc = nn.Linear(feature_dim, embed_dim)
        self.layers = nn.ModuleList([nn.Linear(feature_dim, hidden), nn.Linear(hidden, embed_dim)])
        self.norm = BatchNorm(hidden)

    def forward(self, features: Tensor) -> Tensor:
        """Features B x K x F to rows h, B x K x D."""
        hidden, output = self.layers
        normed = self.norm(hidden(features).flatten(0, 1)).unflatten(0, features.shape[:2])
        rows: Tensor = self.fc(features) + output(normed.relu())
        return rows


class PooledModel(GlobalModel):
    """A model of one vector a side: l2 of what `image_pool` and `text_pool` make of rows and their mask."""

    image_pool: nn.Module
    text_pool: nn.Module

    def build_image_encoder(self) -> nn.Module:
        """The encoder of regions."""
        return RegionMlp(feature_dim=self.config.feature_dim, embed_dim=self.config.embed_dim)

    def image_vector(self, regions: Tensor, region_mask: Tensor) -> Tensor:
        """The pooled rows, scaled to length 1."""
        return l2_normalise(self.image_pool(regions, region_mask))

    def caption_vector(self, words: Tensor, word_mask: Tensor) -> Tensor:
        """The pooled rows, scaled to length 1."""
        return l2_normalise(self.text_pool(words, word_mask))
