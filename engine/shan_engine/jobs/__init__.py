"""Jobs: a file of captions against whole galleries, cut into blocks, kept in a journal, on one machine or many."""

from __future__ import annotations

from shan_engine.jobs.compute import Runner, run_here
from shan_engine.jobs.job import Progress
from shan_engine.jobs.options import DEFAULT_TOP_K, JobOptions, parse_memory
from shan_engine.jobs.run import JobResult, score_job

__all__ = [
    "DEFAULT_TOP_K",
    "JobOptions",
    "JobResult",
    "Progress",
    "Runner",
    "parse_memory",
    "run_here",
    "score_job",
]
