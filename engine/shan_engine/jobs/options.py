"""What is asked of a job."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from shan_engine.base.choices import Direction
from shan_engine.base.errors import InputError

DEFAULT_TOP_K = 10
DEFAULT_MEMORY = 2**30
LEAST_MEMORY = 64 * 2**20
_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


@dataclass(frozen=True)
class JobOptions:
    """Which pairs are kept and how: a caption's images (text-to-image) or an image's captions.

    `top_k` keeps the best so many of each, `threshold` the pairs that score so much or more, both together what meets
    both; without either, the best 10. A matrix keeps every pair and takes neither. `memory` bounds, in bytes, what a
    job holds beside the loaded model; `block_pairs` is how many pairs lie between two entries of the journal, chosen
    by the job's size where None.
    """

    direction: Direction = "text-to-image"
    top_k: int | None = None
    threshold: float | None = None
    memory: int = DEFAULT_MEMORY
    block_pairs: int | None = None

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top-k is {self.top_k}: ask for at least 1")
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise InputError(f"the threshold is {self.threshold}: give a number")
        if self.memory < LEAST_MEMORY:
            raise InputError(f"a job cannot do with {self.memory:,} bytes of memory: give at least 64MB")
        if self.block_pairs is not None and self.block_pairs < 1:
            raise InputError(f"a block of {self.block_pairs} pairs is none: give at least 1")

    @property
    def kept(self) -> tuple[int | None, float | None]:
        """Top-k and threshold of a table of hits."""
        return (DEFAULT_TOP_K, None) if self.top_k is None and self.threshold is None else (self.top_k, self.threshold)


def check_output(output: Path, options: JobOptions) -> bool:
    """Whether an output is a matrix. Raises InputError for a suffix that is none, or options that a matrix lacks."""
    suffix = output.suffix.lower()
    if suffix not in (".npy", ".parquet"):
        raise InputError(f"cannot write scores to {output}: name it .npy (the matrix) or .parquet (the best rows)")
    if suffix == ".npy" and (options.top_k is not None or options.threshold is not None):
        raise InputError(f"{output} holds every score: name it .parquet to use --top-k or --threshold")
    return suffix == ".npy"


def parse_memory(text: str) -> int:
    """Bytes of a size such as 2GB or 500MiB, either in powers of 1,024. Raises InputError for anything else."""
    found = re.fullmatch(r"(\d+(?:[.]\d+)?)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    if not found:
        raise InputError(f"'{text}' is no size: write one such as 2GB or 500MB")
    return int(float(found[1]) * 1024 ** _UNITS[found[2]])
