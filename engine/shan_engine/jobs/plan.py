"""Cut a job into blocks: rectangles of captions by images. The same plan always gives the same blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from shan_engine.jobs.kept_pairs import pairs_dtype
from shan_engine.jobs.options import JobOptions

# Most captions in a block, which share one pass over the images. More would gain little.
MOST_CAPTIONS = 512
# The smallest block takes seconds. The number of blocks is limited to keep the journal of a large job small.
LEAST_PAIRS, MOST_BLOCKS = 2**17, 2**14
# How many images the kernel scores at once.
ROUND_IMAGES = 128
# Memory for a pair while the best are chosen, on top of its score and steps: an index and a copy.
CHOOSING_BYTES = 24


@dataclass(frozen=True)
class Plan:
    """How many captions and images a block has, and how many images are scored before the best are chosen (`tile`)."""

    captions: int
    images: int
    tile: int


@dataclass(frozen=True)
class Portion:
    """The `images` images of view `view`, to be scored with the captions numbered `only` (None: all captions)."""

    view: int
    images: int
    only: tuple[int, ...] | None = None


@dataclass(frozen=True)
class JobBlock:
    """One rectangle: the captions with these numbers by the images `start` to before `stop` of view `view`."""

    number: int
    captions: tuple[int, ...]
    view: int
    start: int
    stop: int

    @property
    def pairs(self) -> int:
        """How many pairs the block has."""
        return len(self.captions) * (self.stop - self.start)

    def rectangle(self, *, by_image: bool) -> tuple[int, int, tuple[int, int]]:
        """Row, column and shape of the block in the full matrix, whose rows are captions or, `by_image`, images."""
        row, column, shape = self.captions[0], self.start, (len(self.captions), self.stop - self.start)
        return (column, row, shape[::-1]) if by_image else (row, column, shape)


def make_plan(captions: int, images: int, options: JobOptions, *, steps: int, matrix: bool, caption_bytes: int) -> Plan:
    """Plan a job of `captions` by `images`, using a quarter of the memory each for captions and for scores.

    `caption_bytes` is the size of the longest caption when encoded.
    """
    share = options.memory // 4
    pairs = options.block_pairs or max(LEAST_PAIRS, -(-captions * images // MOST_BLOCKS))
    group = max(1, min(MOST_CAPTIONS, captions, share // caption_bytes, pairs // ROUND_IMAGES))
    tile = max(1, share // (group * (4 + 4 * steps + CHOOSING_BYTES)))
    wide = max(1, -(-pairs // group))
    if wide > ROUND_IMAGES:
        wide = -(-wide // ROUND_IMAGES) * ROUND_IMAGES
    if matrix:
        wide = min(wide, tile)
    elif options.kept[0] is None:  # every pair may be kept, and ranking copies them
        wide = min(wide, max(1, most_pairs(options.memory, steps) // group))
    return Plan(group, wide, min(tile, wide))


def most_pairs(memory: int, steps: int) -> int:
    """How many pairs to rank at once: the pairs, their order and a copy take a quarter of the memory."""
    return max(1, memory // 4 // (3 * pairs_dtype(steps).itemsize))


def job_blocks(plan: Plan, captions: int, portions: Sequence[Portion]) -> Iterator[JobBlock]:
    """All blocks in order: a group of captions with the images of every portion, then the next group."""
    number = 0
    chosen = [None if portion.only is None else np.array(sorted(portion.only), np.int64) for portion in portions]
    for first in range(0, captions, plan.captions):
        last = min(first + plan.captions, captions)
        for portion, only in zip(portions, chosen, strict=True):
            if only is None:
                group = tuple(range(first, last))
            else:
                group = tuple(only[np.searchsorted(only, first) : np.searchsorted(only, last)].tolist())
            for start in range(0, portion.images if group else 0, plan.images):
                yield JobBlock(number, group, portion.view, start, min(start + plan.images, portion.images))
                number += 1
