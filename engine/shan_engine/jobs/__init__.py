"""Jobs: a file of captions against whole galleries, cut into blocks, kept in a journal, on one machine or many."""

from __future__ import annotations

from .compute import Runner, run_here
from .job import Progress
from .options import DEFAULT_TOP_K, Direction, JobOptions, parse_memory
from .run import JobResult, score_job

__all__ = [
    "DEFAULT_TOP_K",
    "Direction",
    "JobOptions",
    "JobResult",
    "Progress",
    "Runner",
    "parse_memory",
    "run_here",
    "score_job",
]
