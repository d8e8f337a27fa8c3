"""Generalised pooling operator (Chen et al., CVPR 2021): sorted values, weighted by their rank."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from shan_model.norms import MASKED, masked_softmax

SIZE = 32  # of a position's encoding, and of the GRU's state
TEMPERATURE = 0.1


class Gpo(nn.Module):
    """Pools rows by the sum over k of theta_k times each dimension's k-th largest value.

    theta comes from a GRU over the ranks 1 to n, so it depends on the number of rows alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(SIZE, SIZE, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(SIZE, 1, bias=False)

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Rows X x n x D and their mask to X x D."""
        positions = rank_positions(mask).to(rows.dtype)
        packed = pack_padded_sequence(positions, mask.sum(1).cpu(), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=mask.shape[1])
        return self.pool(rows, mask, states.reshape(*mask.shape, 2, SIZE).mean(dim=-2))

    def pool(self, rows: Tensor, mask: Tensor, states: Tensor) -> Tensor:
        """The same from the GRU's states, X x n x 32."""
        ranked = places(mask) < mask.sum(1, keepdim=True)
        theta = masked_softmax(self.linear(states)[..., 0] / TEMPERATURE, ranked, dim=1)
        values = rows.masked_fill(~mask[..., None], MASKED).sort(dim=1, descending=True).values
        return (theta[..., None] * values.masked_fill(~ranked[..., None], 0)).sum(1)


def places(mask: Tensor) -> Tensor:
    """0 to n - 1 for a mask X x n, 1 x n."""
    return torch.arange(mask.shape[1], device=mask.device)[None, :]


def rank_positions(mask: Tensor) -> Tensor:
    """Sines and cosines of the ranks from 0, X x n x 32, for a mask X x n."""
    frequencies = torch.exp(torch.arange(0, SIZE, 2, device=mask.device) * (-math.log(10000) / SIZE))
    angles = places(mask)[..., None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2).expand(mask.shape[0], -1, -1)
