"""A table of metadata beside what photos say: ids in any form, and columns of one name."""

from __future__ import annotations

import unicodedata

import pytest
from shan_engine.base.errors import InputError, StoreError
from shan_engine.base.facts import FACTS
from shan_engine.base.metadata import Metadata
from shan_engine.store.facts import StoredFacts
from shan_engine.store.metadata import fit, joined
from shan_engine.store.records import RecordInfo
from shan_engine.store.verify import verify_store
from tiny import make_store

CAFE = "sub/caf\u00e9.jpg"


def image(id: str, path: str = "") -> RecordInfo:
    return RecordInfo(id, 0, 1, path, "")


def table(**rows: int) -> Metadata:
    return Metadata({"year": "INTEGER"}, {id: (year,) for id, year in rows.items()})


@pytest.mark.parametrize(
    "written",
    [
        CAFE,
        f"./{CAFE}",
        CAFE.replace("/", "\\"),
        unicodedata.normalize("NFD", CAFE),
        "sub//café.jpg",
        f"/photos/{CAFE}",
    ],
)
def test_an_id_is_the_image_in_whatever_form_it_is_written(tmp_path, written):
    images = [image(CAFE, f"/photos/{CAFE}"), image("b.jpg", "/photos/b.jpg")]
    told = table(**{written: 2020, "c.jpg": 2021})
    fitted, described = fit(tmp_path, images, told)
    assert fitted.rows == {CAFE: (2020,), "c.jpg": (2021,)}
    assert (described.described, described.unknown) == (1, 1)
    assert joined(images, {}, told).rows == fitted.rows  # the image may come after its row


def test_a_path_from_here_or_through_a_link_is_the_image(tmp_path, monkeypatch):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "a.jpg").touch()
    images = [image("a.jpg", str(tmp_path / "disk" / "a.jpg"))]
    monkeypatch.chdir(tmp_path)
    for written in (str(tmp_path / "link" / "a.jpg"), "link/a.jpg", "./disk/a.jpg"):
        assert fit(tmp_path, images, table(**{written: 1}))[0].rows == {"a.jpg": (1,)}


def test_an_id_as_the_store_has_it_comes_first(tmp_path):
    images = [image("a\\b.jpg"), image("a/b.jpg")]
    both = table(**{"a/b.jpg": 1, "a\\b.jpg": 2})
    assert joined(images, {}, both).rows == {"a/b.jpg": (1,), "a\\b.jpg": (2,)}
    with pytest.raises(InputError, match=r"image '\./a/b\.jpg' may be 'a.b\.jpg' or 'a.b\.jpg' of the store"):
        fit(tmp_path, images, table(**{"./a/b.jpg": 1}))
    with pytest.raises(InputError, match=r"name the image 'c\.jpg' twice, as 'c\.jpg' and '\./c\.jpg': keep one"):
        fit(tmp_path, [image("c.jpg")], table(**{"c.jpg": 1, "./c.jpg": 2}))


def test_damaged_facts_are_named(tmp_path):
    with make_store(tmp_path / "s", range(2)) as store:
        store.put_facts({"photo0": StoredFacts("1", {"camera": "X-T3"})})
        assert list(verify_store(tmp_path / "s")) == [("photo0", None), ("photo1", None)]
        with store._environment.begin(write=True) as transaction:
            table = store._environment.open_db(b"facts", txn=transaction)
            transaction.put(b"photo0", b'{"stamp": 1', db=table)
        with pytest.raises(StoreError, match=r"the photos' own metadata in the store .* is damaged"):
            store.facts()
        with pytest.raises(StoreError, match=r"own metadata in the store .* is damaged"):
            list(verify_store(tmp_path / "s"))
        store.delete(["photo0"])
        assert store.facts() == {}


def test_facts_stand_beside_a_table_whose_columns_come_first():
    facts = {
        "a.jpg": StoredFacts("1", {"camera": "iPhone 12", "width": 4000}),
        "b.jpg": StoredFacts("1", {"camera": "X-T3", "width": 6000}),
    }
    images = [image("a.jpg"), image("b.jpg")]
    known = joined(images, facts, Metadata({"Width": "TEXT", "year": "INTEGER"}, {"a.jpg": ("wide", 2020)}))
    own = [name for name in FACTS if name != "width"]
    assert list(known.columns) == ["Width", "year", *own]
    rows = {id: dict(zip(known.columns, values, strict=True)) for id, values in known.rows.items()}
    assert (rows["a.jpg"]["camera"], rows["a.jpg"]["Width"], rows["a.jpg"]["year"]) == ("iPhone 12", "wide", 2020)
    assert (rows["b.jpg"]["camera"], rows["b.jpg"]["Width"], rows["b.jpg"]["taken"]) == ("X-T3", None, None)
    assert joined(images, facts, None).columns == FACTS
    assert joined(images, {}, None) is None
