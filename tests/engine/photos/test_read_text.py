"""Reading the photos of a store: each once, and nothing that was read is lost."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from shan_engine.base.errors import InputError
from shan_engine.base.text_lines import TextLine
from shan_engine.photos.read_text import ReadingResult, read_texts
from shan_engine.photos.text_reader import ReadPhoto
from shan_engine.store.feature_store import FeatureStore
from stores import SCHEMA, record

READER = "fake 1"


class FakeReader:
    """Reads a photo's name. What `faults` has for one is raised."""

    name = READER

    def __init__(self, **faults: Exception) -> None:
        self.faults, self.asked = faults, list[str]()
        self._lock, self._now, self.most = threading.Lock(), 0, 0

    def __call__(self, path: Path) -> ReadPhoto:
        with self._lock:
            self.asked.append(path.stem)
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(0.002)
        with self._lock:
            self._now -= 1
        if path.stem in self.faults:
            raise self.faults[path.stem]
        return ReadPhoto(() if path.stem == "blank" else (line(path.stem),), "cut off" if path.stem == "part" else "")


def line(text: str) -> TextLine:
    return TextLine(text, 0.9, (1.0, 2.0, 3.0, 4.0))


def store_of(path: Path, *names: str) -> Path:
    with FeatureStore.create(path, SCHEMA) as store:
        store.write([record(f"{name}.jpg", path=f"/photos/{name}.jpg", stamp="1:2") for name in names])
    return path


def texts(path: Path) -> dict[str, list[str]]:
    with FeatureStore.open(path) as store:
        return {id: [line.text for line in lines] for id, lines in store.texts()}


def test_each_photo_is_read_once(tmp_path):
    store = store_of(tmp_path / "s", "a", "blank", "part")
    with FeatureStore.open(store, readonly=False) as opened:
        opened.write([record("imported")])  # features that another program made
    reader, started, done = FakeReader(), [], []
    found = read_texts(store, reader, on_start=started.append, on_photo=done.append)
    assert found == ReadingResult(read=3, with_text=2, lines=2, known=0, damaged=("cut off",))
    assert (started, done) == ([3], [1, 2, 3])
    assert texts(store) == {"a.jpg": ["a"], "blank.jpg": [], "part.jpg": ["part"]}
    with FeatureStore.open(store, readonly=False) as opened:
        assert set(opened.text_readers().values()) == {READER}
        opened.write([record("a.jpg", 3, path="/photos/a.jpg"), record("new.jpg", path="/photos/new.jpg")])
    reader.asked.clear()
    assert read_texts(store, reader) == ReadingResult(read=2, with_text=2, lines=2, known=2)
    assert sorted(reader.asked) == ["a", "new"]  # the photo of one has changed


def test_a_photo_that_fails_is_named_and_tried_again(tmp_path):
    store = store_of(tmp_path / "s", "a", "b", "c")
    found = read_texts(store, FakeReader(b=InputError("b.jpg cannot be decoded")))
    assert (found.read, found.broken) == (2, ("b.jpg cannot be decoded",))
    again = FakeReader()
    assert read_texts(store, again) == ReadingResult(read=1, with_text=1, lines=1, known=2)
    assert again.asked == ["b"]


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), RuntimeError("a fault of the package")])
def test_what_was_read_before_an_interrupt_is_kept(tmp_path, fault):
    store = store_of(tmp_path / "s", *(f"{number:02}" for number in range(60)))

    def interrupt(done: int) -> None:
        if done == 21:
            raise fault

    with pytest.raises(type(fault)):
        read_texts(store, FakeReader(), on_photo=interrupt)
    assert len(texts(store)) == 21
    rest = FakeReader()
    assert read_texts(store, rest).known == 21
    assert len(rest.asked) == 39
    assert texts(store) == {f"{number:02}.jpg": [f"{number:02}"] for number in range(60)}


def test_no_more_photos_at_a_time_than_workers_and_their_time_is_told_once(tmp_path):
    store = store_of(tmp_path / "s", *(f"{number:02}" for number in range(40)))
    reader, paces, together = FakeReader(), [], threading.Barrier(3)

    def meeting(path: Path) -> ReadPhoto:
        if path.stem < "03":
            together.wait(120)  # for as many photos as there are workers
        return reader(path)

    meeting.name = reader.name
    read_texts(store, meeting, workers=3, on_pace=paces.append)
    assert reader.most <= 3
    (pace,) = paces
    assert pace > 0.0005
