"""BERT (Devlin et al., NAACL 2019): the encoder alone, without its pooler and its training heads."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from shan_model.transformer import PostNormLayer, run_layers

EPSILON = 1e-12


class Bert(nn.Module):
    """Tokens to a state each: the sum of embeddings of piece, place and segment (always 0), then layers."""

    def __init__(
        self,
        *,
        vocab_size: int,
        dim: int,
        layers: int,
        heads: int,
        hidden: int,
        positions: int,
        epsilon: float = EPSILON,
    ) -> None:
        super().__init__()
        self.pieces, self.places = nn.Embedding(vocab_size, dim), nn.Embedding(positions, dim)
        self.segments = nn.Embedding(2, dim)
        self.norm = nn.LayerNorm(dim, eps=epsilon)
        self.layers = nn.ModuleList(
            PostNormLayer(dim, heads, hidden, activation=gelu, epsilon=epsilon) for _ in range(layers)
        )

    def forward(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens C x n and lengths C to states C x n x dim and their mask C x n."""
        order = torch.arange(tokens.shape[1], device=tokens.device)
        mask = order[None, :] < lengths[:, None]
        embedded = self.norm(self.pieces(tokens) + self.places(order) + self.segments.weight[0])
        return run_layers(self.layers, embedded, mask), mask
