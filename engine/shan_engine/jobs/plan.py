"""How a job is cut into blocks: rectangles of captions by images, the same whenever the plan is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from shan_engine.jobs.hits import hits_dtype
from shan_engine.jobs.options import JobOptions

# Images share a pass over so many captions; more bring little.
MOST_CAPTIONS = 512
# A block of the smallest size takes seconds; a large job has so many that they do not fill its journal.
LEAST_PAIRS, MOST_BLOCKS = 2**17, 2**14
# The kernel takes so many images at once.
ROUND_IMAGES = 128
# Of a pair while the best are chosen, beside its score and steps: an order and a copy.
CHOOSING_BYTES = 24


@dataclass(frozen=True)
class Plan:
    """Captions and images of a block, and how many images of it are scored before their best are chosen."""

    captions: int
    images: int
    tile: int


@dataclass(frozen=True)
class Part:
    """Images that some captions meet: view `view`, `images` of them, and the numbers of those captions (None: all)."""

    view: int
    images: int
    only: tuple[int, ...] | None = None


@dataclass(frozen=True)
class JobBlock:
    """One rectangle: the captions of these numbers by the images `start` to before `stop` of view `view`."""

    number: int
    captions: tuple[int, ...]
    view: int
    start: int
    stop: int

    @property
    def pairs(self) -> int:
        """How many scores it takes."""
        return len(self.captions) * (self.stop - self.start)


def make_plan(captions: int, images: int, options: JobOptions, *, steps: int, matrix: bool, caption_bytes: int) -> Plan:
    """The plan of so many captions by images, within a quarter of the memory each for captions and for scores.

    `caption_bytes` is what the longest caption takes when encoded.
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
        wide = min(wide, max(1, most_hits(options.memory, steps) // group))
    return Plan(group, wide, min(tile, wide))


def most_hits(memory: int, steps: int) -> int:
    """How many hits may be ranked together: they, their order and a copy take a quarter of the memory."""
    return max(1, memory // 4 // (3 * hits_dtype(steps).itemsize))


def job_blocks(plan: Plan, captions: int, parts: Sequence[Part]) -> Iterator[JobBlock]:
    """All blocks in order: a group of captions meets the images of every part before the next group comes."""
    number = 0
    chosen = [None if part.only is None else np.array(sorted(part.only), np.int64) for part in parts]
    for first in range(0, captions, plan.captions):
        last = min(first + plan.captions, captions)
        for part, only in zip(parts, chosen, strict=True):
            if only is None:
                group = tuple(range(first, last))
            else:
                group = tuple(only[np.searchsorted(only, first) : np.searchsorted(only, last)].tolist())
            for start in range(0, part.images if group else 0, plan.images):
                yield JobBlock(number, group, part.view, start, min(start + plan.images, part.images))
                number += 1
