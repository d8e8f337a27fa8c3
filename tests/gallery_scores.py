"""What a whole gallery holds: its scores, to compare it with another, and its blocks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from shan_engine.gallery.reader import Gallery
from shan_engine.jobs.run import score_job
from shan_engine.scoring.scorer import Scorer
from shan_engine.text.query_files import numbered
from tiny import CAPTIONS


def matrix(scorer: Scorer, gallery: Gallery, folder: Path, captions: Sequence[str] = CAPTIONS) -> np.ndarray:
    """Captions x images, through the file that `score` writes."""
    score_job(scorer, [gallery], numbered(captions), folder / "scores.npy")
    return np.load(folder / "scores.npy")


def by_id(scorer: Scorer, gallery: Gallery, folder: Path, captions: Sequence[str] = CAPTIONS) -> dict[str, np.ndarray]:
    """The scores of each image with every caption."""
    scores = matrix(scorer, gallery, folder, captions)
    return {id: scores[:, column] for column, id in enumerate(gallery.ids())}


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray], tolerance: float = 1e-5) -> None:
    """The same images with the same scores."""
    assert one.keys() == other.keys()
    for id in one:
        np.testing.assert_allclose(one[id], other[id], rtol=0, atol=tolerance, err_msg=id)


def folders(gallery: Path) -> set[str]:
    """Names below `blocks`."""
    return {folder.name for folder in (gallery / "blocks").iterdir()}


def blocks_of(gallery: Path) -> set[str]:
    """Names of the blocks in the manifest."""
    return {entry.name for entry in Gallery.open(gallery).manifest.blocks}
