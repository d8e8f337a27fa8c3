"""What is written in photos: kept beside the records of a store, and gone or moved with them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import lmdb
import pytest
from shan_engine.base.errors import StoreError
from shan_engine.base.text_lines import TextLine
from shan_engine.store.contents import Content, Place
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.verify import verify_store
from stores import SCHEMA, record

SIGN = (TextLine("Straße 42", 0.98, (10.0, 20.0, 110.0, 45.5)), TextLine("\x1b]0;é\u202e<b>", 0.5, (0, 0, 1, 1)))
LONG = "a" * 600 + ".jpg"
READER = "test 1"


def _store(path: Path) -> FeatureStore:
    store = FeatureStore.create(path, SCHEMA)
    store.write([record(id) for id in ("a.jpg", "b.jpg", "c.jpg", LONG)])
    store.put_text({"a.jpg": SIGN, "b.jpg": (), LONG: SIGN[:1], "gone.jpg": SIGN}, reader=READER)
    return store


def test_lines_come_back_in_order_and_an_image_without_any_is_not_one_that_was_not_read(tmp_path: Path) -> None:
    with _store(tmp_path / "s") as store:
        assert dict(store.texts()) == {"a.jpg": SIGN, "b.jpg": (), LONG: SIGN[:1]}
        assert list(store.texts(["c.jpg", "", "b.jpg", "other", "a.jpg"])) == [("b.jpg", ()), ("a.jpg", SIGN)]
        assert store.text_readers() == dict.fromkeys(("a.jpg", "b.jpg", LONG), READER)
        store.put_text({"b.jpg": SIGN}, reader="test 2")
        assert dict(store.texts(["b.jpg"])) == {"b.jpg": SIGN}
        assert store.text_readers()["b.jpg"] == "test 2"


def test_text_of_more_images_than_one_transaction_reads(tmp_path: Path) -> None:
    with FeatureStore.create(tmp_path / "s", SCHEMA) as store:
        ids = [f"{number:04}.jpg" for number in range(1100)]
        store.write([record(id, regions=1) for id in ids])
        texts = {id: (TextLine(id, 1.0, (0, 0, 1, 1)),) for id in ids}
        store.put_text(texts, reader=READER)
        assert dict(store.texts()) == texts
        assert dict(store.texts(ids[::2])) == {id: texts[id] for id in ids[::2]}


def test_text_goes_with_its_image(tmp_path: Path) -> None:
    with _store(tmp_path / "s") as store:
        store.delete(["b.jpg"])
        store.write([record("a.jpg", 5)])  # its photo has changed
        assert dict(store.texts()) == {LONG: SIGN[:1]}


def test_text_moves_with_its_image(tmp_path: Path) -> None:
    moves = {"a.jpg": "b.jpg", "b.jpg": "a.jpg", LONG: "short.jpg", "c.jpg": "z" * 700}
    with _store(tmp_path / "s") as store:
        store.put_text({"c.jpg": SIGN[1:]}, reader=READER)
        store.relocate({id: Content("", (Place(new, f"/photos/{new}", "1:2"),)) for id, new in moves.items()})
        assert dict(store.texts()) == {"b.jpg": SIGN, "a.jpg": (), "short.jpg": SIGN[:1], "z" * 700: SIGN[1:]}
        store.relocate({"b.jpg": Content("", (Place("b.jpg", "/elsewhere/b.jpg", "1:2"),))})
        assert dict(store.texts(["b.jpg"])) == {"b.jpg": SIGN}


def test_forgotten_text_leaves_the_disk_and_everything_else_stays(tmp_path: Path) -> None:
    with _store(tmp_path / "s") as store:
        store.compact()
    assert "Straße 42".encode() in (tmp_path / "s" / "data.mdb").read_bytes()
    with FeatureStore.open(tmp_path / "s", readonly=False) as store:
        assert dict(store.texts(["a.jpg"])) == {"a.jpg": SIGN}
        store.forget_text()
        assert dict(store.texts()) == store.text_readers() == {}
        store.compact()
    assert "Straße 42".encode() not in (tmp_path / "s" / "data.mdb").read_bytes()
    with FeatureStore.open(tmp_path / "s", readonly=False) as store:
        assert len(store) == 4
        store.put_text({"a.jpg": SIGN}, reader=READER)
        assert dict(store.texts()) == {"a.jpg": SIGN}


def test_verify_finds_text_that_is_not_what_was_written(tmp_path: Path) -> None:
    _store(tmp_path / "s").close()
    assert all(problem is None for _, problem in verify_store(tmp_path / "s"))
    environment = lmdb.open(str(tmp_path / "s"), max_dbs=8)
    with environment.begin(write=True) as transaction:
        table = environment.open_db(b"text", txn=transaction)
        row = json.loads(transaction.get(b"a.jpg", db=table))
        row["lines"][0][0] = "Straße 43"
        transaction.put(b"a.jpg", json.dumps(row).encode(), db=table)
    environment.close()
    with pytest.raises(StoreError, match=r"text of image 'a\.jpg' in .* is damaged .*forget-text"):
        list(verify_store(tmp_path / "s"))


def test_a_store_of_before_has_no_text_and_takes_some(tmp_path: Path) -> None:
    golden = Path(__file__).parents[2] / "golden" / "store-1"
    shutil.copytree(golden, tmp_path / "s")
    with FeatureStore.open(tmp_path / "s") as store:
        assert dict(store.texts()) == {}
        first = store.ids()[0]
    with FeatureStore.open(tmp_path / "s", readonly=False) as store:
        store.forget_text()
        store.put_text({first: SIGN}, reader=READER)
        assert dict(store.texts()) == {first: SIGN}
