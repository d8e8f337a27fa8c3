"""Choose the kernel and tiles for a batch, and launch it."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from triton.runtime.errors import OutOfResources

from shan_engine.backends.torch_cuda import pair_kernels
from shan_engine.base.errors import BackendError
from shan_engine.kernel.constants import ShanConstants

MOST_ROWS = 128  # regions or words; more would not fit in a program's registers
IN_ROWS_DIMS = 256  # the largest D for which a program holds whole rows
# Neither Triton's first compilation nor its interpreter is thread-safe. Launches are short, so a lock costs little.
_launching = threading.Lock()


@dataclass(frozen=True)
class ImageTerms:
    """Images on a device: `regions` B x K x D and `mask` B x K (uint8).

    If the model has more than one step, also the gate terms `own` and `attended`, B x K x D. `hubness` (B, float32) is
    subtracted from the scores. All other arrays have the same floating type.
    """

    regions: Tensor
    mask: Tensor
    own: Tensor | None = None
    attended: Tensor | None = None
    hubness: Tensor | None = None


@dataclass(frozen=True)
class CaptionTerms:
    """Captions on a device: `words` and `queries` C x n x D, and `mask` C x n (uint8).

    If the model has more than one step, also the gate terms `own` and `attended`, C x n x D.
    """

    words: Tensor
    queries: Tensor
    mask: Tensor
    own: Tensor | None = None
    attended: Tensor | None = None


@dataclass(frozen=True)
class Pools:
    """The pooling vectors on a device, D float32 numbers each. Step 1 alone does not read them."""

    image: Tensor
    text: Tensor


@dataclass(frozen=True)
class Tiles:
    """How a kernel is compiled: `rows` or `chunks`, the sizes of its tiles, and the number of warps and load stages.

    `tile` is how many regions `rows` fuses at a time; `chunks` fuses all at once.
    """

    kernel: str
    regions: int
    tile: int
    words: int
    dims: int
    warps: int
    stages: int


def choose_tiles(K: int, n: int, D: int, dtype: torch.dtype, steps: int) -> Tiles:
    """Tiles for images of K regions and captions of n words. Raises BackendError for more than 128 of either."""
    if max(K, n) > MOST_ROWS:
        raise BackendError(
            f"{K} regions with {n} words: the torch back end takes at most {MOST_ROWS} of each, use --device cpu"
        )
    regions, words, half = _power(K), _power(n), dtype != torch.float32
    # With these sizes `triton.compile` for sm_90 stays in registers, and within a small GPU's shared memory (99 KiB).
    if half and steps > 1 and D <= IN_ROWS_DIMS and regions <= 64 and words <= 32:
        return Tiles("rows", regions, 16, words, _power(D), 4 if words == 16 else 8, 2)
    narrow = regions + words > 128 if half else regions + words > 96
    dims = (64 if half else 32) // (2 if narrow else 1)
    return Tiles("chunks", regions, regions, words, dims, 4 if regions + words <= 80 else 8, 2 if half else 1)


def score_pairs(
    images: ImageTerms,
    captions: CaptionTerms,
    pools: Pools,
    constants: ShanConstants,
    out: Tensor,
    tiles: Tiles | None = None,
) -> None:
    """Write the scores of B images with C captions into `out`, a contiguous C x B of float32.

    All tensors must be contiguous and on one device. Products of float32 are exact, not TF32. Raises ValueError for
    other tensors, and BackendError for more rows than `choose_tiles` accepts or a GPU too small for the tiles.
    """
    B, K, D = images.regions.shape
    C, n, _ = captions.words.shape
    if out.shape != (C, B) or not out.is_contiguous():
        raise ValueError(f"out is {tuple(out.shape)}, not a contiguous {C} x {B}")
    if not B * C:
        return
    tiles = tiles or choose_tiles(K, n, D, images.regions.dtype, constants.steps)
    kernel: Any = pair_kernels.score_in_rows if tiles.kernel == "rows" else pair_kernels.score_in_chunks
    own, attended = images.own, images.attended
    caption_own, caption_attended = captions.own, captions.attended
    if constants.steps == 1:  # never read, but the kernel needs addresses
        own = attended = images.regions
        caption_own = caption_attended = captions.words
    tensors = [
        images.regions, own, attended, images.mask,
        captions.words, captions.queries, caption_own, caption_attended, captions.mask,
        pools.image, pools.text, out,
    ]  # fmt: skip
    for tensor in tensors:
        if tensor is None or not tensor.is_contiguous() or tensor.device != out.device:
            raise ValueError(f"a term is missing, not contiguous or not on {out.device}")
    device = torch.cuda.device(out.device) if out.is_cuda else nullcontext()
    try:
        with _launching, device:
            kernel[(B * C,)](
                *tensors,
                *(B, C, K, n, D),
                *(constants.temperature, constants.region_weight, constants.word_weight),
                STEPS=constants.steps,
                BK=tiles.regions,
                BN=tiles.words,
                BD=tiles.dims,
                PRECISION="ieee",
                FAST=out.is_cuda and images.regions.dtype != torch.float32,
                **({"TILE": tiles.tile} if tiles.kernel == "rows" else {}),
                num_warps=tiles.warps,
                num_stages=tiles.stages,
            )
    except OutOfResources as error:
        raise BackendError(
            f"this GPU is too small for {K} regions with {n} words in {images.regions.dtype}: "
            "index the gallery with --storage float16, or use --device cpu"
        ) from error


def _power(rows: int) -> int:
    """The size of a tile for `rows` rows: a power of two, and at least 16 because of the tensor cores."""
    return max(16, 1 << (rows - 1).bit_length())
