"""Galleries and captions that jobs are tried on, and what their results must be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.images import index_store
from shan_engine.jobs.options import JobOptions
from shan_engine.jobs.run import score_job
from shan_engine.text.query_files import QueryLine
from tiny import CAPTIONS, WORDS, make_store

Run = Callable[..., Path]


def captions(count: int) -> list[str]:
    """Different captions of 1 to 7 words and more, each in the tests' words."""
    random = np.random.default_rng(7)
    made = [" ".join(random.choice(WORDS, 1 + number % 7)) + f" {WORDS[number % 20]}" for number in range(count)]
    return [*CAPTIONS, *made][:count]


def as_queries(texts: Sequence[str]) -> list[QueryLine]:
    return [QueryLine(f"q{number}", text, f"caption {number}") for number, text in enumerate(texts)]


@pytest.fixture(scope="session")
def other_path(scorer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second gallery, of 30 images."""
    folder = tmp_path_factory.mktemp("other")
    with make_store(folder / "store", range(41, 71)) as store:
        index_store(store, scorer, folder / "other")
    return folder / "other"


@pytest.fixture
def galleries(scorer: Any, gallery_path: Path, other_path: Path) -> list[Gallery]:
    return [Gallery.open(path, scorer.bundle) for path in (gallery_path, other_path)]


@pytest.fixture
def run_job(scorer: Any, galleries: list[Gallery], tmp_path: Path) -> Run:
    """Score 23 captions with both galleries: `run_job("name.parquet", top_k=3)` is the result's path."""

    def job(name: str, *, of: Sequence[Gallery] = (), texts: Sequence[str] = (), **options: Any) -> Path:
        output = tmp_path / name
        asked = {name: options.pop(name) for name in JobOptions.__dataclass_fields__ if name in options}
        chosen = JobOptions(**{"block_pairs": 100, **asked})
        queries = as_queries(texts or captions(23))
        result = score_job(scorer, of or galleries, queries, output, options=chosen, **options)
        assert result.finished == (not output.with_name(f"{name}.job").exists())
        return output

    return job
