"""Memory hardly grows with the gallery, nor with a job."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import pyarrow.parquet
import pytest
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.images import BlockSizes, index_store
from shan_engine.jobs.options import JobOptions
from shan_engine.jobs.run import score_job
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.answer import search
from shan_engine.text.query_files import QueryLine
from tiny import CAPTIONS, WORDS, make_store

BLOCK = 500  # more than the 256 images of a call


def peak_of_search(scorer: Scorer, path: Path) -> int:
    """Most bytes that Python and NumPy held at a time; mapped files do not count."""

    def peak() -> int:
        gc.collect()  # else when garbage goes depends on the tests before
        tracemalloc.start()
        try:
            search(scorer, Gallery.open(path), CAPTIONS, top_k=20, exhaustive=True)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    return min(peak() for _ in range(3))  # garbage of the search itself, and other threads, may stand in one peak


def test_ten_times_the_images_take_hardly_more_memory(scorer, tmp_path):
    for name, images in (("small", BLOCK), ("large", 10 * BLOCK)):
        with make_store(tmp_path / f"{name}.store", range(images)) as store:
            for dtype in ("float32", "float16"):
                index_store(store, scorer, tmp_path / f"{name}.{dtype}", dtype=dtype, sizes=BlockSizes(images=BLOCK))
    peak_of_search(scorer, tmp_path / "small.float32")  # loads what stays: sessions, tokeniser, imports
    for dtype in ("float32", "float16"):
        small, large = (peak_of_search(scorer, tmp_path / f"{name}.{dtype}") for name in ("small", "large"))
        assert large - small < 40 * 9 * BLOCK  # bytes for each more image, whose arrays take a thousand


def peak_of_job(scorer: Scorer, gallery: Gallery, captions: int, output: Path) -> int:
    """Most bytes that Python and NumPy held at a time, when every pair is a hit."""
    queries = (QueryLine(f"q{number}", f"a dog {WORDS[number % 20]}", "here") for number in range(captions))
    tracemalloc.start()
    try:
        score_job(scorer, [gallery], queries, output, options=JobOptions(threshold=-9.0))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_ten_times_the_captions_take_hardly_more_memory(scorer, gallery_path, tmp_path, monkeypatch):
    monkeypatch.setattr("shan_engine.jobs.job.most_pairs", lambda memory, steps: 20_000)
    monkeypatch.setattr("shan_engine.writers.hits_parquet.ROW_GROUP", 10_000)
    gallery, output = Gallery.open(gallery_path), tmp_path / "hits.parquet"
    peak_of_job(scorer, gallery, 10, output)  # loads what stays: sessions, tokeniser, imports
    small, large = (peak_of_job(scorer, gallery, captions, output) for captions in (800, 8000))
    assert pyarrow.parquet.read_metadata(output).num_rows == 8000 * 41
    assert large - small < 7200 * 150  # bytes for each more caption, whose hits take a thousand


def resident(folder: Path) -> int:
    """Bytes of this process's memory that are pages of files in a folder."""
    held, counts = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if not line.split(maxsplit=1)[0].endswith(":"):  # a mapping begins
            counts = str(folder) in line
        elif counts and line.startswith("Rss:"):
            held += 1024 * int(line.split()[1])
    return held


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's /proc")
def test_an_exhaustive_search_does_not_keep_the_gallerys_files_in_memory(scorer, tmp_path):
    with make_store(tmp_path / "store", range(10 * BLOCK)) as store:
        index_store(store, scorer, tmp_path / "gallery", sizes=BlockSizes(images=BLOCK))
    gallery = Gallery.open(tmp_path / "gallery")
    first = search(scorer, gallery, CAPTIONS, exhaustive=True)
    read = sum(array.nbytes for block in gallery.blocks for array in block.files.values())
    assert resident(tmp_path / "gallery") < read / 2
    assert search(scorer, gallery, CAPTIONS, exhaustive=True) == first
