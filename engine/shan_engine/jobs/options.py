"""The options of a job: which pairs it keeps, within what memory."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from shan_engine.base.choices import Direction
from shan_engine.base.errors import InputError
from shan_engine.base.threads import memory_quota

DEFAULT_TOP_K = 10
_MOST_DEFAULT_MEMORY = 2**30
LEAST_MEMORY = 64 * 2**20
_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


@dataclass(frozen=True)
class JobOptions:
    """Which pairs a job keeps: for each caption its images (text-to-image), or for each image its captions.

    `top_k` keeps the best pairs of each, `threshold` those with at least that score. Both together keep the pairs
    that meet both; neither keeps the best 10. A matrix keeps every pair and accepts neither. `memory` is the most that
    a job may hold, in bytes, on top of the loaded model. `block_pairs` is the number of pairs in a block, that is
    between two entries of the journal; None chooses it by the size of the job. Raises InputError for an invalid value.
    """

    direction: Direction = "text-to-image"
    top_k: int | None = None
    threshold: float | None = None
    memory: int = field(default_factory=lambda: default_memory())
    block_pairs: int | None = None

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top-k is {self.top_k}: give at least 1")
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise InputError(f"the threshold is {self.threshold}: give a number")
        if self.memory < LEAST_MEMORY:
            raise InputError(f"{self.memory:,} bytes of memory are too few for a job: give at least 64MB")
        if self.block_pairs is not None and self.block_pairs < 1:
            raise InputError(f"a block cannot have {self.block_pairs} pairs: give at least 1")

    @property
    def kept(self) -> tuple[int | None, float | None]:
        """The top-k and threshold to use for a table, with the default filled in."""
        return (DEFAULT_TOP_K, None) if self.top_k is None and self.threshold is None else (self.top_k, self.threshold)


def default_memory() -> int:
    """1 GB, or in a container with less than four a quarter of its memory."""
    return int(max(LEAST_MEMORY, min(_MOST_DEFAULT_MEMORY, memory_quota() / 4)))


def check_output(output: Path, options: JobOptions) -> bool:
    """Whether the output is a matrix. Raises InputError for an unknown suffix or options that do not fit it."""
    suffix = output.suffix.lower()
    if suffix not in (".npy", ".parquet"):
        raise InputError(f"cannot write scores to {output}: name it .npy (all scores) or .parquet (the best pairs)")
    if suffix == ".npy" and (options.top_k is not None or options.threshold is not None):
        raise InputError(f"{output} holds every score: name it .parquet to use --top-k or --threshold")
    return suffix == ".npy"


def parse_memory(text: str) -> int:
    """Parse a size such as 2GB or 500MiB, both in powers of 1,024, to bytes. Raises InputError for anything else."""
    found = re.fullmatch(r"(\d+(?:[.]\d+)?)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    if not found:
        raise InputError(f"'{text}' is not a size: write one such as 2GB or 500MB")
    return int(float(found[1]) * 1024 ** _UNITS[found[2]])
