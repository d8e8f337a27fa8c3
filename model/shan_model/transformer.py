"""Layers of transformers as `torch.nn` defines them, written so that a graph may have any number of rows."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import relu

from shan_model.norms import masked_softmax


class SelfAttention(nn.Module):
    """Multi-head attention of rows to each other, as `nn.MultiheadAttention`."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value, self.output = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Rows X x L x D, which attend to those where the mask is true, to the same shape.

        The mask is X x L, or for each row that attends X x L x L, where X may be 1.
        """
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.query_key_value(x).chunk(3, dim=-1)
        )
        affinity = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        seen = mask[:, None, None, :] if mask.ndim == 2 else mask[:, None]
        attended = masked_softmax(affinity, seen, dim=-1) @ value
        rows: Tensor = self.output(attended.transpose(1, 2).flatten(2))
        return rows


class PostNormLayer(nn.Module):
    """x <- LN(x + attention(x)), then x <- LN(x + W2 ReLU(W1 x)), as `nn.TransformerEncoderLayer`.

    BERT has GELU as `activation`, and another `epsilon` of the layer norms.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        *,
        activation: Callable[[Tensor], Tensor] = relu,
        epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.attention = SelfAttention(dim, heads)
        self.hidden, self.output = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.attention_norm, self.output_norm = (nn.LayerNorm(dim, eps=epsilon) for _ in range(2))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Rows X x L x D and their mask to the same shape."""
        x = self.attention_norm(x + self.attention(x, mask))
        rows: Tensor = self.output_norm(x + self.output(self.activation(self.hidden(x))))
        return rows


class PreNormLayer(nn.Module):
    """x <- x + attention(LN(x)), then x <- x + W2 f(W1 LN(x)), as CLIP and SigLIP have it."""

    def __init__(
        self, dim: int, heads: int, hidden: int, *, activation: Callable[[Tensor], Tensor], epsilon: float
    ) -> None:
        super().__init__()
        self.activation = activation
        self.attention = SelfAttention(dim, heads)
        self.hidden, self.output = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.attention_norm, self.output_norm = (nn.LayerNorm(dim, eps=epsilon) for _ in range(2))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Rows X x L x D and their mask to the same shape."""
        x = x + self.attention(self.attention_norm(x), mask)
        rows: Tensor = x + self.output(self.activation(self.hidden(self.output_norm(x))))
        return rows


def run_layers(layers: nn.ModuleList, x: Tensor, mask: Tensor) -> Tensor:
    """Rows X x L x D and their mask through layer after layer."""
    for layer in layers:
        x = layer(x, mask)
    return x
