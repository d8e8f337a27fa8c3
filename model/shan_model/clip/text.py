"""The text encoder of CLIP (Radford et al., ICML 2021) and of SigLIP (Zhai et al., ICCV 2023)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from shan_model.clip.config import ClipTextConfig
from shan_model.transformer import PreNormLayer, run_layers


def quick_gelu(x: Tensor) -> Tensor:
    """CLIP's approximation of GELU."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "quick_gelu": quick_gelu,
    "gelu": gelu,
    "gelu_pytorch_tanh": partial(gelu, approximate="tanh"),
}


class ClipText(nn.Module):
    """Tokens to a row each in the joint space, and one row for the whole text; none is scaled."""

    def __init__(self, config: ClipTextConfig, *, vocab_size: int, embed_dim: int) -> None:
        super().__init__()
        dim, activation = config.dim, ACTIVATIONS[config.activation]
        self.padding, self.positions = config.padding, config.positions
        self.pieces, self.places = nn.Embedding(vocab_size, dim), nn.Embedding(config.positions, dim)
        self.layers = nn.ModuleList(
            PreNormLayer(dim, config.heads, config.hidden, activation=activation, epsilon=config.epsilon)
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(dim, eps=config.epsilon)
        self.projection = nn.Linear(dim, embed_dim, bias=config.bias)

    def forward(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens C x n and lengths C to rows C x n x D and what stands for the whole text, C x D."""
        order = torch.arange(tokens.shape[1], device=tokens.device)
        if self.padding < 0:
            rows = self.run(tokens, order[None, :, None] >= order[None, None, :])
            last = (lengths - 1)[:, None, None].expand(-1, 1, rows.shape[-1])
            return rows, rows.gather(1, last)[:, 0]
        places = torch.arange(self.positions, device=tokens.device)
        more = tokens.new_zeros(tokens.shape[0], self.positions)
        padded = torch.cat([tokens, more], dim=1)[:, : self.positions]
        used = places[None] < lengths[:, None]
        rows = self.run(torch.where(used, padded, self.padding), torch.ones_like(used))
        return rows.index_select(1, order), rows[:, -1]

    def run(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Tokens C x n to rows C x n x D; the mask as `SelfAttention` takes it."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        states = run_layers(self.layers, self.pieces(tokens) + self.places(places), mask)
        rows: Tensor = self.projection(self.norm(states))
        return rows
