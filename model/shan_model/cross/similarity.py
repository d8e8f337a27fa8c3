"""What SGRAF makes of similarity vectors: one, by reasoning over their graph or by filtering them."""

from __future__ import annotations

from torch import Tensor, nn

from shan_model.norms import EPSILON, BatchNorm, l2_normalise, masked_softmax

ALL, FIRST = slice(None), slice(1)


class ReasoningStep(nn.Module):
    """S <- ReLU(W softmax(Q K^T) S + b), with Q and K linear in S."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.query, self.key, self.output = (nn.Linear(size, size) for _ in range(3))

    def forward(self, similarities: Tensor, mask: Tensor, rows: slice = ALL) -> Tensor:
        """S, ... x n x size, and its mask ... x n, to the same, or to `rows` of the n alone."""
        affinity = self.query(similarities[..., rows, :]) @ self.key(similarities).transpose(-1, -2)
        edges = masked_softmax(affinity, mask[..., None, :], dim=-1)
        reasoned: Tensor = self.output(edges @ similarities).relu()
        return reasoned


class Reasoning(nn.Module):
    """SGR: some steps over the graph of all similarities; the first one, of both sides as wholes, is the result."""

    def __init__(self, size: int, steps: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(ReasoningStep(size) for _ in range(steps))

    def forward(self, similarities: Tensor, mask: Tensor) -> Tensor:
        """S, ... x n x size, to ... x size."""
        *before, last = self.steps
        for step in before:
            similarities = step(similarities, mask)
        result: Tensor = last(similarities, mask, FIRST)
        return result[..., 0, :]


class Filtration(nn.Module):
    """SAF: their mean, weighted by a logistic of each, scaled to length 1."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weigh, self.norm = nn.Linear(size, 1), BatchNorm(1)

    def forward(self, similarities: Tensor, mask: Tensor) -> Tensor:
        """S, ... x n x size, to ... x size."""
        raw = self.weigh(similarities)
        weights = self.norm(raw.reshape(-1, 1)).reshape(raw.shape)[..., 0].sigmoid() * mask
        weights = weights / (weights.sum(-1, keepdim=True) + EPSILON)
        return l2_normalise((weights[..., None, :] @ similarities)[..., 0, :])
