"""A day's result from the day before's, where words are written in photos: new photos change how rare they are."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.images import index_store
from shan_engine.jobs.compute import run_here
from shan_engine.jobs.options import JobOptions
from shan_engine.jobs.run import score_job
from shan_engine.store.feature_store import FeatureStore
from shan_engine.text.query_files import numbered
from tiny import CAPTIONS, make_record
from written_photos import SIZES, lines_of, written_gallery

QUERIES = ["the budget", "a receipt of the hardware store", "東京", "the harbour", *CAPTIONS[:3]]


def scored(scorer, gallery, path, **options):
    """The rows of a run, in their order, and how many pairs it scores."""
    pairs = 0

    def counting(work):
        nonlocal pairs
        for block, found in run_here(work):
            pairs += block.pairs
            yield block, found

    since = options.pop("since", None)
    own = JobOptions(**options)
    score_job(scorer, [gallery], numbered(QUERIES), path, options=own, since=since, runner=counting)
    return pq.read_table(path).to_pylist(), pairs


@pytest.mark.parametrize(
    "options",
    [{"top_k": 4}, {"threshold": 1.0}, {"top_k": 3, "direction": "image-to-text"}],
    ids=["top-k", "threshold", "image-to-text"],
)
@pytest.mark.parametrize("change", ["rarer words", "a first word", "its only photo deleted", "text forgotten"])
def test_it_has_the_rows_of_a_full_run(scorer, tmp_path, options, change):
    gallery = written_gallery(tmp_path, scorer)
    monday, pairs = scored(scorer, gallery, tmp_path / "monday.parquet", **options)
    assert pairs == len(QUERIES) * 120
    with FeatureStore.open(tmp_path / "store", readonly=False) as store:
        store.write([make_record(number) for number in range(200, 204)])
        if change == "rarer words":
            store.put_text({"photo200": lines_of("budget of the hardware store")}, reader="test 1")
        elif change == "a first word":
            store.put_text({"photo9": lines_of("HARBOUR")}, reader="test 1")
        elif change == "its only photo deleted":
            store.delete(["photo100"])
        else:
            store.put_text({"photo100": (), "photo20": ()}, reader="test 1")
        index_store(store, scorer, tmp_path / "gallery", sizes=SIZES)
    gallery = Gallery.open(tmp_path / "gallery")
    found, again = scored(scorer, gallery, tmp_path / "a.parquet", since=tmp_path / "monday.parquet", **options)
    wanted, whole = scored(scorer, gallery, tmp_path / "b.parquet", **options)
    names = [name for name in wanted[0] if not isinstance(wanted[0][name], float)]
    assert [[row[name] for name in names] for row in found] == [[row[name] for name in names] for row in wanted]
    for name in ("score", "l2l", "g2l", "g2g", "written"):
        np.testing.assert_allclose([row[name] for row in found], [row[name] for row in wanted], rtol=0, atol=1e-6)
    assert again < whole or options.get("direction")
    if change != "text forgotten":
        assert monday != found
