"""A gallery large enough to be searched in stages."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from shan_engine.indexing.images import BlockSizes, index_store
from tiny import make_store


@pytest.fixture(scope="session")
def staged(scorer, tmp_path_factory) -> Path:
    """A gallery searched in stages and its store, in one folder; copy it before changing it."""
    folder = tmp_path_factory.mktemp("staged")
    with make_store(folder / "store", range(300)) as store:
        index_store(store, scorer, folder / "gallery", sizes=BlockSizes(128, staged_from=100))
    return folder


@pytest.fixture
def copy(staged, tmp_path) -> Path:
    return Path(shutil.copytree(staged, tmp_path / "copy"))
