"""A thousand changed files for each reader: the right answer or one sentence, soon, silent and in little memory.

`make fuzz` tries other ones, for as long as is asked.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
GROUPS = {
    "features and tables": ("npy", "scan", "npz", "tsv", "csv", "parquet"),
    "texts and words": ("captions", "queries", "vectors", "vocabulary", "tokenizers", "phrases"),
    "settings and plans": ("tuning", "collection", "ignore", "plans", "sidecars", "facts"),
    "photos": ("photos", "extractors"),
    "models": ("checkpoint", "published", "training"),
    "stores and jobs": ("store", "job"),
    "bundles": ("bundle",),
    "galleries": ("gallery",),
    "galleries of captions": ("captions-gallery",),
    "page": ("where", "requests"),
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    folder = tmp_path_factory.mktemp("fuzz") / "corpus"
    command = [sys.executable, HERE / "corpus.py", folder, pytestconfig.cache.mkdir("bundles")]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    return folder


@pytest.mark.timeout(900)  # of a loaded machine
@pytest.mark.parametrize("group", GROUPS)
def test_changed_files_are_answered_or_refused(corpus: Path, tmp_path: Path, group: str) -> None:
    only = [word for name in GROUPS[group] for word in ("--only", name)]
    command = [sys.executable, HERE / "run.py", "--corpus", corpus, "--faults", tmp_path, "--inputs", "1000", *only]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_reader_is_tried(corpus: Path) -> None:
    tried = {name for names in GROUPS.values() for name in names}
    assert tried == {folder.name for folder in corpus.iterdir()} - {"shared"}
