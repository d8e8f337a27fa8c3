"""Memory of a search does not grow with the gallery."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

from conftest import CAPTIONS, make_store
from shan_engine.gallery import Gallery
from shan_engine.indexing import index_store
from shan_engine.scoring import Scorer
from shan_engine.search import search

BLOCK = 500  # more than the 256 images of a call


def peak_of_search(scorer: Scorer, path: Path) -> int:
    """Most bytes that Python and NumPy held at a time; mapped files do not count."""
    tracemalloc.start()
    try:
        search(scorer, Gallery.open(path), CAPTIONS, top_k=20)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_ten_times_the_images_take_no_more_memory(scorer, tmp_path, monkeypatch):
    monkeypatch.setattr("shan_engine.indexing.BLOCK_IMAGES", BLOCK)
    for name, images in (("small", BLOCK), ("large", 10 * BLOCK)):
        with make_store(tmp_path / f"{name}.store", range(images)) as store:
            for dtype in ("float32", "float16"):
                index_store(store, scorer, tmp_path / f"{name}.{dtype}", dtype=dtype)
    peak_of_search(scorer, tmp_path / "small.float32")  # loads what stays: sessions, tokeniser, imports
    for dtype in ("float32", "float16"):
        small, large = (peak_of_search(scorer, tmp_path / f"{name}.{dtype}") for name in ("small", "large"))
        assert large < 1.2 * small
