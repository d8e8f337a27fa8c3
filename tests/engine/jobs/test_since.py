"""A day's result from the day before's: only what is new is scored, and the rows are those of a full run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow.parquet
import pytest
from job_runs import captions
from shan_engine.base.errors import InputError
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.images import BlockSizes, index_store
from shan_engine.jobs.compute import run_here
from shan_engine.store.feature_store import FeatureStore
from tiny import make_record, make_store


class Day:
    """A store and its gallery, changed and indexed again."""

    def __init__(self, scorer, folder):
        self._scorer, self._store, self.path = scorer, folder / "store", folder / "gallery"
        make_store(self._store, range(30)).close()
        self.index()

    def index(self):
        with FeatureStore.open(self._store) as store:
            index_store(store, self._scorer, self.path, sizes=BlockSizes(images=10))
        return Gallery.open(self.path)

    def change(self, *, delete=(), add=(), replace_=()):
        with FeatureStore.open(self._store, readonly=False) as store:
            if delete:
                store.delete([f"photo{number}" for number in delete])
            store.write([make_record(number) for number in add])
            changed = [replace(make_record(number, seed=9), stamp="changed") for number in replace_]
            store.delete([record.id for record in changed])
            store.write(changed)
        return self.index()


@pytest.fixture
def day(scorer, tmp_path):
    (tmp_path / "home").mkdir()
    return Day(scorer, tmp_path / "home")


def rows_of(path):
    return pyarrow.parquet.read_table(path).to_pylist()


def assert_same_rows(one, other):
    found, wanted = rows_of(one), rows_of(other)
    names = [name for name in wanted[0] if name not in ("score", "l2l", "g2l", "g2g")]
    assert [[row[name] for name in names] for row in found] == [[row[name] for name in names] for row in wanted]
    for name in ("score", "l2l", "g2l", "g2g"):
        np.testing.assert_allclose([row[name] for row in found], [row[name] for row in wanted], rtol=0, atol=1e-6)


CHANGES = {
    "added": {"add": range(30, 36)},
    "changed": {"replace_": [0, 13, 14, 29]},
    "deleted": {"delete": [0, 3, 4, 11, 27]},
    "all": {"add": range(30, 43), "replace_": [2], "delete": [5, 6, 7, 8, 21]},
    "nothing": {},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize(
    "options",
    [{"top_k": 4}, {"top_k": 500}, {"threshold": 1.0}, {"top_k": 3, "threshold": 1.2},
     {"top_k": 4, "direction": "image-to-text"}],
    ids=["top-k", "all", "threshold", "both", "image-to-text"],
)  # fmt: skip
def test_it_has_the_rows_of_a_full_run(run_job, day, changes, options):
    monday = run_job("monday.parquet", of=[Gallery.open(day.path)], **options)
    gallery = day.change(**changes)
    tuesday = run_job("tuesday.parquet", of=[gallery], since=monday, **options)
    assert_same_rows(tuesday, run_job("whole.parquet", of=[gallery], **options))
    # The day after goes on from it.
    gallery = day.change(add=range(50, 53), delete=[9])
    wednesday = run_job("tuesday.parquet", of=[gallery], since=tuesday, **options)
    assert_same_rows(wednesday, run_job("whole.parquet", of=[gallery], **options))


def scored(run_job, name, **options):
    """The pairs that a run scores."""
    pairs = []

    def counting(work):
        for block, found in run_here(work):
            pairs.extend((number, place) for number in block.captions for place in range(block.start, block.stop))
            yield block, found

    run_job(name, runner=counting, **options)
    return len(pairs)


def test_only_what_is_new_is_scored(run_job, day):
    """Twenty images lie in full blocks; a block that is less than half full is encoded, and so scored, anew."""
    monday = run_job("monday.parquet", of=[Gallery.open(day.path)], top_k=4)
    gallery = day.change(add=range(30, 36))
    assert scored(run_job, "tuesday.parquet", of=[gallery], since=monday, top_k=4) == 23 * 6


def test_captions_that_lost_a_hit_are_scored_anew_and_no_others(run_job, day):
    monday = run_job("monday.parquet", of=[Gallery.open(day.path)], top_k=1)
    lost = {row["query_id"] for row in rows_of(monday) if row["image_id"] == rows_of(monday)[0]["image_id"]}
    gallery = day.change(delete=[int(rows_of(monday)[0]["image_id"].removeprefix("photo"))])
    assert 0 < len(lost) < 23
    assert scored(run_job, "tuesday.parquet", of=[gallery], since=monday, top_k=1) == len(lost) * 29


def test_a_new_gallery_beside_the_old_one(run_job, galleries):
    monday = run_job("monday.parquet", of=galleries[:1])
    assert_same_rows(run_job("both.parquet", of=galleries, since=monday), run_job("whole.parquet", of=galleries))
    both = run_job("both.parquet", of=galleries)
    one = run_job("one.parquet", of=galleries[1:], since=both)
    assert_same_rows(one, run_job("whole.parquet", of=galleries[1:]))


def test_a_copy_of_a_gallery_counts_as_new(run_job, galleries, gallery_copy):
    twin = Gallery.open(gallery_copy.rename(gallery_copy.with_name("twin")))
    both = [galleries[0], twin]
    monday = run_job("monday.parquet", of=galleries[:1])
    tuesday = run_job("tuesday.parquet", of=both, since=monday)
    assert_same_rows(tuesday, run_job("whole.parquet", of=both))
    assert_same_rows(run_job("wednesday.parquet", of=both[::-1], since=tuesday), run_job("back.parquet", of=both[::-1]))


def test_stopped_it_goes_on(run_job, day):
    monday = run_job("monday.parquet", of=[Gallery.open(day.path)], top_k=4)
    gallery = day.change(**CHANGES["all"])
    whole = run_job("whole.parquet", of=[gallery], since=monday, top_k=4).read_bytes()
    seen = []
    run_job("a.parquet", of=[gallery], since=monday, top_k=4, stop=lambda: len(seen) > 4, on_progress=seen.append)
    with pytest.raises(InputError, match="started with another --since"):
        run_job("a.parquet", of=[gallery], top_k=4)
    assert run_job("a.parquet", of=[gallery], since=monday, top_k=4).read_bytes() == whole


def test_a_result_goes_on_from_itself_killed_at_the_very_end_too(run_job, day, tmp_path, monkeypatch):
    run_job("a.parquet", of=[Gallery.open(day.path)], top_k=4)
    gallery = day.change(**CHANGES["all"])
    whole = run_job("whole.parquet", of=[gallery], since=tmp_path / "a.parquet", top_k=4).read_bytes()

    def die(folder):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("shan_engine.jobs.run._remove", die)
        with pytest.raises(KeyboardInterrupt):
            run_job("a.parquet", of=[gallery], since=tmp_path / "a.parquet", top_k=4)
    assert (tmp_path / "a.parquet").read_bytes() == whole
    assert run_job("a.parquet", of=[gallery], since=tmp_path / "a.parquet", top_k=4).read_bytes() == whole


def test_other_results_are_refused_by_name(run_job, day, tmp_path):
    gallery = Gallery.open(day.path)
    monday = run_job("monday.parquet", of=[gallery], top_k=4)
    for changes, said in (
        ({"top_k": 5}, "top-k 4, not 5"),
        ({"texts": captions(9), "top_k": 4}, "captions"),
        ({"direction": "image-to-text", "top_k": 4}, "direction text-to-image, not image-to-text"),
    ):
        with pytest.raises(
            InputError, match=rf"monday\.parquet was made with other .*{said}.*: score once without --since"
        ):
            run_job("a.parquet", of=[gallery], since=monday, **changes)
    pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), tmp_path / "foreign.parquet")
    (tmp_path / "text.parquet").write_text("no table")
    for name in ("foreign", "text", "gone"):
        with pytest.raises(InputError, match=rf"{name}\.parquet is not a result of `score` that --since"):
            run_job("a.parquet", of=[gallery], since=tmp_path / f"{name}.parquet")
    with pytest.raises(InputError, match=r"--since needs a \.parquet output"):
        run_job("a.npy", of=[gallery], since=monday)
    assert not list(tmp_path.glob("a.*"))
