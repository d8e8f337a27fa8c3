"""The photos' own metadata in a store: kept, renewed, and told where it is missing."""

from __future__ import annotations

import math

from extractors import detector
from photos_facts import SAID, XMP, phone_exif, save
from shan_engine.photos.extract import extract_photos
from shan_engine.photos.extractor import FeatureExtractor
from shan_engine.photos.facts.places import has_places
from shan_engine.store.feature_store import FeatureStore


def test_extract_keeps_facts_and_renews_those_that_changed(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    save(folder / "a.jpg", exif=phone_exif())
    save(folder / "b.jpg")
    extractor = FeatureExtractor(detector(tmp_path))
    store = tmp_path / "store"

    def run() -> tuple[int, list[int], dict]:
        totals: list[int] = []
        result = extract_photos(folder, store, extractor, on_start=totals.append)
        with FeatureStore.open(store) as opened:
            return result.added, totals, {id: held.facts for id, held in opened.facts().items()}

    added, totals, known = run()
    assert (added, totals, list(known)) == (2, [2], ["a.jpg", "b.jpg"])
    assert (known["a.jpg"]["camera"], known["b.jpg"]) == ("iPhone 12 mini", {"width": 40, "height": 30})
    assert math.isclose(known["a.jpg"]["latitude"], -33.865)
    assert run()[:2] == (0, [0])
    (folder / "b.xmp").write_bytes(XMP.encode())
    assert run() == (0, [1], {**known, "b.jpg": {**SAID}})
    (folder / "b.xmp").unlink()
    assert run() == (0, [1], known)
    with FeatureStore.open(store, readonly=False) as opened:  # as in a store of an older version
        with opened._environment.begin(write=True) as transaction:
            transaction.drop(opened._environment.open_db(b"facts", txn=transaction))
        assert opened.facts() == {}
    assert run() == (0, [2], known)
    (folder / "b.jpg").unlink()
    assert list(run()[2]) == ["a.jpg"]


def test_places_that_no_table_names_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("shan_engine.photos.facts.renew.has_places", lambda: False)
    monkeypatch.setattr("shan_engine.photos.facts.places.has_places", lambda: False)
    folder = tmp_path / "photos"
    folder.mkdir()
    save(folder / "a.jpg", exif=phone_exif())
    save(folder / "b.jpg")
    extractor = FeatureExtractor(detector(tmp_path))
    assert extract_photos(folder, tmp_path / "store", extractor).unnamed_places == 1
    assert extract_photos(folder, tmp_path / "store", extractor).unnamed_places == 0
    monkeypatch.undo()
    extract_photos(folder, tmp_path / "store", extractor)  # reads facts again, as the table is there now
    with FeatureStore.open(tmp_path / "store") as opened:
        assert opened.facts()["a.jpg"].facts.get("country") == ("Australia" if has_places() else None)


def test_a_side_car_that_cannot_be_read_is_named(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    save(folder / "a.jpg")
    (folder / "a.jpg.json").write_text("{")
    (folder / "a.xmp").write_text("<x/>")
    result = extract_photos(folder, tmp_path / "store", FeatureExtractor(detector(tmp_path)))
    assert (result.added, result.broken) == (1, ())
    assert [sentence.split(" (")[0] for sentence in sorted(result.sidecars)] == [
        f"{folder}/a.jpg.json cannot be read", f"{folder}/a.xmp cannot be read"
    ]  # fmt: skip
