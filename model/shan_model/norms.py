"""Normalisation, cosines and masked softmax, as SHAN defines them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, leaky_relu

EPSILON = 1e-8
MASKED = -1e9


def l2_normalise(x: Tensor) -> Tensor:
    """Rows of x (... x D) divided by their Euclidean norm, at least 1e-8."""
    return x / safe_sqrt((x * x).sum(dim=-1, keepdim=True))


def cosine(x: Tensor, y: Tensor) -> Tensor:
    """Cosine similarity over the last axis."""
    return (l2_normalise(x) * l2_normalise(y)).sum(dim=-1)


def safe_sqrt(square: Tensor) -> Tensor:
    """Square root, at least 1e-8, with a finite gradient at 0."""
    return torch.sqrt(square.clamp_min(EPSILON**2))


def leaky_unit(x: Tensor, *, slope: float, dim: int) -> Tensor:
    """LeakyReLU, then length 1 along `dim`, as the public code of SCAN and its kin computes cosines for attention."""
    bent = leaky_relu(x, slope)
    return bent / (safe_sqrt((bent * bent).sum(dim=dim, keepdim=True)) + EPSILON)


class BatchNorm(nn.Module):
    """Batch normalisation of N x size, or N x size x L, as `nn.BatchNorm1d`, whose count of batches is no weight."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", torch.zeros(size))
        self.register_buffer("running_var", torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """By the batch's own mean and variance in training, else by those that training has seen."""
        return batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.training)


def masked_softmax(x: Tensor, mask: Tensor, dim: int) -> Tensor:
    """Softmax along `dim` over the places where `mask` (broadcast to x) is true; 0 elsewhere."""
    return torch.softmax(x.masked_fill(~mask, MASKED), dim=dim)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of the last axis over the places where `mask` (broadcast to x) is true."""
    weight = mask.to(x.dtype)
    return (x * weight).sum(dim=-1) / weight.sum(dim=-1)


def used_rows(mask: Tensor) -> Tensor:
    """How many of the first rows hold all that a mask C x n keeps, C."""
    places = torch.arange(1, mask.shape[-1] + 1, device=mask.device)
    return (mask * places).amax(-1)
