"""SHAN's first step and its gradients in compiled C: on a CPU several times as fast as PyTorch."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import torch
from shan_engine.kernel.library import chosen_variant, load_library
from torch import Tensor
from torch.autograd.function import once_differentiable

from shan_model.norms import used_rows
from shan_model.retrieval import Terms

WORDS = 16  # captions are padded to a multiple of it
MOST_WORDS, MOST_REGIONS = 128, 128


@cache
def library() -> ctypes.CDLL | None:
    """The kernel that `load_kernel` chooses; None if it is not built or turned off."""
    variant = chosen_variant()
    return None if variant is None else load_library(variant)


def can_score(image: Terms, caption: Terms) -> bool:
    """Whether the compiled step takes these terms."""
    V, T = image["image_regions"], caption["caption_words"]
    small = T.shape[1] <= MOST_WORDS and V.shape[1] <= MOST_REGIONS
    return V.device.type == "cpu" and V.dtype == torch.float32 and small and library() is not None


def local_scores(image: Terms, caption: Terms, region_weight: float, word_weight: float) -> Tensor:
    """S_L2L, B x C, of every image with every caption; captions of similar length are scored together."""
    lengths = (used_rows(caption["word_mask"]) + WORDS - 1) // WORDS
    columns, order = [], []
    for length in sorted(set(lengths.tolist())):
        rows = (lengths == length).nonzero()[:, 0]
        columns.append(_of_length(image, caption, rows, length * WORDS, region_weight, word_weight))
        order.append(rows)
    return torch.cat(columns, dim=1)[:, torch.cat(order).argsort()]


def _of_length(image: Terms, caption: Terms, rows: Tensor, words: int, a: float, b: float) -> Tensor:
    V, whole = image["image_regions"], caption["caption_words"].shape[1]
    chosen = {
        name: torch.nn.functional.pad(caption[name][rows, :words], (0, 0, 0, max(0, words - whole)))
        for name in ("caption_words", "caption_queries")
    }
    mask = torch.nn.functional.pad(caption["word_mask"][rows, :words], (0, max(0, words - whole)))
    T = chosen["caption_words"]
    regions = V.flatten(0, 1)
    shape = (*V.shape[:2], *T.shape[:2])
    scores: Tensor = _LocalScores.apply(  # type: ignore[no-untyped-call]
        (regions @ chosen["caption_queries"].flatten(0, 1).T).view(shape),
        (regions @ T.flatten(0, 1).T).view(shape),
        image["image_gram"],
        T @ T.transpose(1, 2),
        image["region_mask"],
        mask,
        (a, b),
    )
    return scores


class _LocalScores(torch.autograd.Function):
    """From affinity and similarity B x K x C x n, Gram matrices B x K x K and C x n x n, and masks."""

    @staticmethod
    def forward(
        ctx: Any, affinity: Tensor, similarity: Tensor, image_gram: Tensor, caption_gram: Tensor, region_mask: Tensor,
        word_mask: Tensor, weights: tuple[float, float],
    ) -> Tensor:  # fmt: skip
        inputs = [x.contiguous() for x in (affinity, similarity, image_gram, caption_gram, region_mask, word_mask)]
        ctx.save_for_backward(*inputs)
        ctx.weights = weights
        scores = affinity.new_empty(affinity.shape[0], affinity.shape[2])
        _call(inputs, weights, None, [scores, None, None, None, None])
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        found = [torch.empty_like(inputs[0]), torch.empty_like(inputs[1]), *(torch.zeros_like(x) for x in inputs[2:4])]
        _call(inputs, ctx.weights, gradient.contiguous(), [None, *found])
        return *found, None, None, None


def _call(
    inputs: list[Tensor], weights: tuple[float, float], gradient: Tensor | None, outputs: list[Tensor | None]
) -> None:
    kernel = library()
    assert kernel is not None
    B, K, C, n = inputs[0].shape
    failed = kernel.shan_train_local(
        *(x.data_ptr() for x in inputs), B, K, C, n, *weights, _pointer(gradient), *map(_pointer, outputs)
    )
    if failed:
        raise MemoryError("no memory is left for the scores of a batch")


def _pointer(x: Tensor | None) -> int | None:
    return None if x is None else x.data_ptr()
