"""The exact SHAN score on CPU as compiled C: no PyTorch, no ONNX Runtime.

The libraries beside this file are compiled when the package is built, one for each kind of processor;
`load_kernel` takes the best. The environment variable SHAN_KERNEL overrides that: `off` for none, or a
variant's name (`x86-64-v4`, `x86-64-v3`, `baseline`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.packing import SCALES
from shan_engine.base.threads import usable_cpus
from shan_engine.kernel.arrays import Array, check_array, check_range, named_array
from shan_engine.kernel.constants import CAPTION_TERMS, MASK, REGIONS, ShanConstants
from shan_engine.kernel.library import chosen_variant, load_library
from shan_engine.kernel.pieces import Pieces, check_pieces

# Captions packed together: their arrays stay in the last cache while image after image meets them.
BLOCK_BYTES = 4 * 2**20
# Multiplications below which starting a thread costs more than it brings.
THREAD_WORK = 20_000_000
# A thread's share is cut in this many, so that a core that is busy otherwise holds nobody up.
PARTS = 4
GATE_TERMS = ("image_gate_term", "image_attended_gate_term")
_TYPES: dict[str, int] = {"float32": 0, "float16": 1, "int8": 2}


def load_kernel(constants: ShanConstants, *, threads: int | None = None) -> Kernel | None:
    """The kernel for this processor and a model's constants; None where it is not built or SHAN_KERNEL=off.

    Raises BackendError where SHAN_KERNEL names a variant that cannot run here.
    """
    variant = chosen_variant()
    return None if variant is None else Kernel(constants, variant, threads=threads)


class Kernel:
    """One variant of the compiled score; `threads` is the number of usable CPUs where None."""

    def __init__(self, constants: ShanConstants, variant: str, *, threads: int | None = None) -> None:
        self.constants, self.variant = constants, variant
        self.threads = threads or usable_cpus()
        self._library = load_library(variant)

    @property
    def image_terms(self) -> tuple[str, ...]:
        """What `step_scores` reads of images beside their regions and mask."""
        return GATE_TERMS if self.constants.steps > 1 else ()

    def on_one_thread(self) -> Kernel:
        """The same kernel for a caller that has threads of its own."""
        return Kernel(self.constants, self.variant, threads=1)

    def score(self, images: Mapping[str, Array], captions: Mapping[str, Array]) -> NDArray[np.float32]:
        """Scores B x C of every image with every caption; arrays as for `step_scores`."""
        scores: NDArray[np.float32] = self.step_scores(images, captions).sum(-1)
        return scores

    def step_scores(self, images: Mapping[str, Array], captions: Mapping[str, Array]) -> NDArray[np.float32]:
        """Scores of each step, B x C x steps, of every image with every caption.

        Of images: `image_regions` B x K x D, `region_mask` B x K and, from step 2 on, `image_gate_term` and
        `image_attended_gate_term` B x K x D. Of captions: `caption_words`, `caption_queries` C x n x D,
        `word_mask` C x n and, from step 2 on, `caption_gate_term` and `caption_attended_gate_term`; float32, masks
        bool, other names are ignored. Step 1 alone also takes regions as a gallery stores them, float16, or int8 with
        `image_regions.scales` B x K. An image or caption without any row scores NaN. Raises ValueError where
        an array is missing or has another type, shape or layout.
        """
        if self.constants.steps == 1:
            return self.step_1(images, captions)[..., None]
        regions = named_array(images, REGIONS, np.float32, (None, None, None))
        B, K, D = regions.shape
        mask = named_array(images, MASK, np.bool_, (B, K))
        gate, attended = (named_array(images, name, np.float32, (B, K, D)) for name in GATE_TERMS)
        n, C = _caption_shape(captions, D)
        out = np.empty((B, C, self.constants.steps), np.float32)
        for start, packed in self._packed(captions, D):

            def score_part(part: slice, start: int = start, packed: int = packed) -> None:
                failed = self._library.shan_score(
                    packed,
                    *(_address(array[part]) for array in (regions, gate, attended, mask)),
                    part.stop - part.start,
                    K,
                    out.ctypes.data + out.strides[0] * part.start + out.strides[1] * start,
                    C * self.constants.steps,
                )
                _refuse(failed)

            self._in_parts(score_part, B, 5 * K * n * D * C)
        return out

    def step_1(self, images: Mapping[str, Array], captions: Mapping[str, Array]) -> NDArray[np.float32]:
        """Step 1 alone, B x C, of images by the arrays that a gallery stores."""
        for name in (REGIONS, MASK):
            if name not in images:
                raise ValueError(f"there is no array {name} among {', '.join(images)}")
        regions, scales = images[REGIONS], images.get(REGIONS + SCALES)
        return self.local_scores(regions, scales, images[MASK], np.arange(len(regions)), captions)

    def local_scores(
        self,
        regions: Array,
        scales: NDArray[np.float32] | None,
        mask: NDArray[np.bool_],
        rows: NDArray[np.int64],
        captions: Mapping[str, Array],
    ) -> NDArray[np.float32]:
        """Step 1 alone, R x C: the images `rows` (R) of an array, which may be memory-mapped, with every caption.

        `regions` is N x K x D in float32, float16, or int8 with `scales` N x K (value = int8 * scale), `mask`
        N x K. Only those rows are read. Raises ValueError for arrays of another type, shape or layout, and for
        rows outside 0 .. N - 1.
        """
        pieces = Pieces([regions]), None if scales is None else Pieces([scales]), Pieces([mask])
        return self.local_scores_of(*pieces, rows, captions)

    def local_scores_of(
        self,
        regions: Pieces,
        scales: Pieces | None,
        mask: Pieces,
        rows: NDArray[np.int64],
        captions: Mapping[str, Array],
    ) -> NDArray[np.float32]:
        """As `local_scores`, of arrays in pieces."""
        if regions.dtype.name not in _TYPES:
            raise ValueError(f"regions has type {regions.dtype}, not one of {', '.join(_TYPES)}")
        check_array("regions", np.empty((0, *regions.shape), regions.dtype), regions.dtype.type, (None, None, None))
        (K, D), N = regions.shape, len(regions)
        check_pieces("mask", mask, np.bool_, (K,), regions)
        check_array("rows", rows, np.int64, (None,))
        check_range("rows", rows, N)
        if regions.dtype == np.int8:
            if scales is None:
                raise ValueError("int8 regions need their scales, N x K")
            check_pieces("scales", scales, np.float32, (K,), regions)
        n, C = _caption_shape(captions, D)
        out = np.empty((len(rows), C), np.float32)
        at = [None if pieces is None else pieces.rows_from(rows) for pieces in (regions, scales, mask)]
        for start, packed in self._packed(captions, D, local=True):
            width = min(C - start, self._block(n, D))
            block = np.empty((len(rows), width), np.float32)

            def score_part(part: slice, packed: int = packed, block: NDArray[np.float32] = block) -> None:
                own, their, real = (None if rows is None else _address(rows[part]) for rows in at)
                kind, count = _TYPES[regions.dtype.name], part.stop - part.start
                _refuse(self._library.shan_local_of(packed, own, kind, their, real, count, K, _address(block[part])))

            self._in_parts(score_part, len(rows), 3 * K * n * D * C)
            out[:, start : start + width] = block
        return out

    def scan(self, vectors: Pieces, scales: Pieces, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """Products N x C of all vectors N x D (value = int8 * scale, `scales` N) with queries C x D.

        This is a large search's first pass, on the caller's thread. Raises ValueError for arrays of another type, shape
        or layout.
        """
        check_pieces("vectors", vectors, np.int8, (None,), vectors)
        check_pieces("scales", scales, np.float32, (), vectors)
        check_array("queries", queries, np.float32, (None, *vectors.shape))
        out = np.empty((len(queries), len(vectors)), np.float32)
        self._library.shan_scan_pieces(
            *(_address(array) for array in (vectors.addresses, scales.addresses, vectors.counts)),
            len(vectors.counts),
            *vectors.shape,
            _address(queries),
            len(queries),
            _address(out),
            len(vectors),
        )
        return out.T

    def evidence(
        self, numbers: Pieces, shares: Pieces, weights: NDArray[np.float32], nothing: float = 0.0
    ) -> NDArray[np.float32]:
        """Sums N x C over m of `shares` N x m (float16) times the weights (C x L) with these `numbers` N x m.

        A number that is not below L counts as the last one; an image whose first share is 0 gets `nothing`. It works on
        the caller's thread. Raises ValueError for arrays of another type, shape or layout.
        """
        check_pieces("numbers", numbers, np.uint16, (None,), numbers)
        check_pieces("shares", shares, np.float16, numbers.shape, numbers)
        check_array("weights", weights, np.float32, (None, None))
        out = np.empty((len(weights), len(numbers)), np.float32)
        failed = self._library.shan_evidence_pieces(
            *(_address(array) for array in (numbers.addresses, shares.addresses, numbers.counts)),
            len(numbers.counts),
            *numbers.shape,
            _address(weights),
            *weights.shape,
            nothing,
            _address(out),
            len(numbers),
        )
        _refuse(failed)
        return out.T

    def _in_parts(self, work: Callable[[slice], None], items: int, work_of_one: int) -> None:
        """Run `work` on all items, in slices, on as many threads as are worth it."""
        if items == 0:
            return
        threads = max(1, min(self.threads, items, items * work_of_one // THREAD_WORK))
        if threads == 1:
            work(slice(0, items))
            return
        edges = np.linspace(0, items, min(items, threads * PARTS) + 1).astype(int).tolist()
        list(self._pool.map(work, [slice(*edge) for edge in pairwise(edges)]))

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.threads, thread_name_prefix="kernel")

    @staticmethod
    def _block(n: int, D: int) -> int:
        """How many captions are packed together."""
        return max(1, BLOCK_BYTES // max(1, 16 * n * D))

    def _packed(self, captions: Mapping[str, Array], D: int, *, local: bool = False) -> Iterator[tuple[int, int]]:
        """Blocks of captions: the first one's number and the packed block, freed when the next is asked for."""
        n, C = _caption_shape(captions, D)
        names = CAPTION_TERMS[:2] if local else CAPTION_TERMS
        terms = [named_array(captions, name, np.float32, (C, n, D)) for name in names]
        mask = named_array(captions, "word_mask", np.bool_, (C, n))
        pools: list[int | None] = [None, None]
        if not local:
            for side, pool in enumerate((self.constants.image_pool, self.constants.text_pool)):
                if pool is None:
                    raise ValueError("steps after the first need image_pool and text_pool")
                pools[side] = _address(check_array(("image_pool", "text_pool")[side], pool, np.float32, (D,)))
        size = self._block(n, D)
        for start in range(0, C, size):
            block = slice(start, min(start + size, C))
            addresses = [_address(term[block]) for term in terms]
            with self._freed(
                self._library.shan_captions_new(
                    *addresses,
                    *[None] * (4 - len(addresses)),
                    _address(mask[block]),
                    block.stop - start,
                    n,
                    D,
                    *pools,
                    self.constants.temperature,
                    self.constants.region_weight,
                    self.constants.word_weight,
                    1 if local else self.constants.steps,
                )
            ) as packed:
                yield start, packed

    @contextmanager
    def _freed(self, packed: int | None) -> Iterator[int]:
        if packed is None:
            raise MemoryError("no memory for packed captions")
        try:
            yield packed
        finally:
            self._library.shan_captions_free(packed)


def _caption_shape(captions: Mapping[str, Array], D: int) -> tuple[int, int]:
    """Words and captions of `caption_words`, C x n x D."""
    C, n, _ = named_array(captions, "caption_words", np.float32, (None, None, D)).shape
    return n, C


def _address(array: Array) -> int:
    return array.ctypes.data


def _refuse(failed: int) -> None:
    if failed:
        raise MemoryError("no memory for the score kernel")
