"""SHAN: two encoders and the stepwise alignment (Ji, Chen, Wang, IJCAI 2021)."""

from __future__ import annotations

from torch import Tensor, nn

from .alignment import Alignment
from .config import ShanConfig
from .encoders import ImageEncoder, TextEncoder


class Shan(nn.Module):
    """The plain model; its parameters' names are the checkpoint's."""

    def __init__(self, config: ShanConfig) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = ImageEncoder(feature_dim=config.feature_dim, embed_dim=config.embed_dim)
        self.text_encoder = TextEncoder(
            vocab_size=config.vocab_size,
            word_vector_dim=config.word_vector_dim,
            embedding_dim=config.embedding_dim,
            embed_dim=config.embed_dim,
        )
        self.alignment = Alignment(
            embed_dim=config.embed_dim,
            temperature=config.temperature,
            direction=config.direction,
            steps=config.steps,
        )

    def forward(self, features: Tensor, region_mask: Tensor, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Scores of P aligned pairs: features P x K x F, mask P x K, tokens P x n, lengths P to P."""
        regions = self.image_encoder(features)
        words, word_mask = self.text_encoder(tokens, lengths)
        scores: Tensor = self.alignment(regions, region_mask, words, word_mask).sum(-1)
        return scores
