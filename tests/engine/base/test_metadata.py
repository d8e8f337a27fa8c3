"""Tables of metadata: read from files, kept in a store, carried into a gallery."""

from __future__ import annotations

import datetime

import pyarrow
import pyarrow.parquet
import pytest
from shan_engine.base.errors import GalleryError, InputError, StoreError
from shan_engine.base.metadata import Metadata
from shan_engine.gallery.filters import columns, matching
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.images import BlockSizes, index_store
from shan_engine.search.answer import search
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.verify import verify_store
from tiny import make_record, make_store

YEARS = Metadata({"year": "INTEGER"}, {f"photo{number}": (2000 + number,) for number in range(10)})


def csv(folder, text):
    path = folder / "photos.csv"
    path.write_text(text, "utf-8")
    return path


def test_csv_columns_have_the_type_of_all_their_values(tmp_path):
    names = "\ufeffimage,year,weight,licence,zip,big,empty\n"
    text = names + 'a.jpg,2020,1,CC0,01234,9223372036854775808,\n"b,é.jpg",,.5e1,,5,1,\n'
    table = Metadata.read(csv(tmp_path, text))
    assert table.columns == {
        "year": "INTEGER", "weight": "REAL", "licence": "TEXT", "zip": "TEXT", "big": "REAL", "empty": "TEXT"
    }  # fmt: skip
    assert table.rows == {
        "a.jpg": (2020, 1.0, "CC0", "01234", 2.0**63, None),
        "b,é.jpg": (None, 5.0, None, "5", 1.0, None),
    }


def test_csv_ids_stay_as_they_are_written(tmp_path):
    ids = ["12345678901234567890", "12345678901234567891", "7", "2020.10", "2020.1", "007"]
    table = Metadata.read(csv(tmp_path, "id,year\n" + "".join(f"{id},{n}\n" for n, id in enumerate(ids))))
    assert table.rows == {id: (n,) for n, id in enumerate(ids)}


def test_parquet_columns_keep_their_types(tmp_path):
    table = pyarrow.table(
        {
            "id": pyarrow.array([7, 8], pyarrow.int32()),
            "flag": [True, None],
            "weight": pyarrow.array([0.5, float("nan")], pyarrow.float32()),
            "licence": pyarrow.array(["CC0", "CC0"]).dictionary_encode(),
            "day": [datetime.date(2020, 2, 29), None],
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "photos.parquet")
    read = Metadata.read(tmp_path / "photos.parquet")
    assert read.columns == {"flag": "INTEGER", "weight": "REAL", "licence": "TEXT", "day": "TEXT"}
    assert read.rows == {"7": (1, 0.5, "CC0", "2020-02-29"), "8": (None, None, "CC0", None)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,year\na,1\na,2\n", "has the image 'a' twice, the second time in row 2"),
        ("id,year\n,1\n", "row 1 of .* has no id in its column 'id'"),
        ("name,year\na,1\n", "has no column id or image or path with the images' ids: choose one of name, year"),
        ("id\na\n", "has no column beside 'id'"),
        ("id,year\n", "has no rows"),
        ("", "has no column id or image or path"),
        ("id,year,Year\na,1,2\n", "has two columns named"),
        ("id,,b\na,1,2\n", "has a column without a name"),
        ("id,year\na,1,2\n", "line 2 has 3 fields, the first line names 2"),
        ('id,year\na,"1"2\n', "line 2 is not CSV"),
        ("id,path\na,b\n", "has a column 'path' beside 'id', a reserved name"),
    ],
)
def test_a_table_that_is_none_is_one_sentence(tmp_path, text, said):
    with pytest.raises(InputError, match=said):
        Metadata.read(csv(tmp_path, text))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*missing\.csv"):
        Metadata.read(tmp_path / "missing.csv")
    with pytest.raises(InputError, match=r"cannot read .*missing\.parquet"):
        Metadata.read(tmp_path / "missing.parquet")
    with pytest.raises(InputError, match=r"give a \.csv or a \.parquet file"):
        Metadata.read(tmp_path / "photos.xlsx")
    (tmp_path / "latin.csv").write_bytes("id,town\na,Zürich\n".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        Metadata.read(tmp_path / "latin.csv")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match=r"bad\.parquet is damaged or not a Parquet file"):
        Metadata.read(tmp_path / "bad.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"id": ["a"], "tags": [["x"]]}), tmp_path / "nested.parquet")
    with pytest.raises(InputError, match=r"has the type list<.*> in its column 'tags'"):
        Metadata.read(tmp_path / "nested.parquet")


def test_a_store_keeps_the_last_table_also_of_images_to_come(tmp_path):
    with make_store(tmp_path / "s", range(3)) as store:
        assert store.metadata() is None
        store.put_metadata(Metadata({"town": "TEXT"}, {"photo0": ("Zürich",)}))
        fit = store.put_metadata(YEARS)
        assert (fit.images, fit.described, fit.unknown, fit.columns) == (3, 3, 7, ("year",))
        store.compact()
    with FeatureStore.open(tmp_path / "s", readonly=False) as store:
        assert store.metadata() == YEARS
        with pytest.raises(InputError, match="has none of the 1 images that the metadata name, such as 'x'"):
            store.put_metadata(Metadata({"a": "TEXT"}, {"x": ("b",)}))
        assert store.metadata() == YEARS


def test_damaged_metadata_are_named(tmp_path):
    with make_store(tmp_path / "s", range(3)) as store:
        store.put_metadata(YEARS)
        with store._environment.begin(write=True) as transaction:
            table = store._environment.open_db(b"metadata", txn=transaction)
            transaction.put(b"photo1", b"[1999]", db=table)
        with pytest.raises(StoreError, match=r"the metadata of the store .* are damaged .*: set them again"):
            store.metadata()
    with pytest.raises(StoreError, match="the metadata of the store"):
        list(verify_store(tmp_path / "s"))


def years(scorer, gallery, **options):
    (found,) = search(scorer, Gallery.open(gallery), ["a dog"], top_k=50, explain=False, **options)
    return {hit.image.id: hit.metadata.get("year", "no column") for hit in found.hits}


def test_index_carries_metadata_and_encodes_nothing_for_them(scorer, tmp_path):
    sizes = BlockSizes(images=4)
    gallery = tmp_path / "g"
    with make_store(tmp_path / "s", range(6)) as store:
        index_store(store, scorer, gallery, sizes=sizes)
        assert columns(Gallery.open(gallery)) == ["id", "path"]
        assert set(years(scorer, gallery).values()) == {"no column"}
        before = {entry.name for entry in Gallery.open(gallery).manifest.blocks}
        store.put_metadata(Metadata({"year": "INTEGER"}, {"photo1": (2001,), "photo5": (2005,), "photo8": (2008,)}))
        old = Gallery.open(gallery)
        assert index_store(store, scorer, gallery, sizes=sizes).added == 0
        assert {entry.name for entry in Gallery.open(gallery).manifest.blocks} == before
        known = {"photo1": 2001, "photo5": 2005}
        assert years(scorer, gallery) == {f"photo{number}": known.get(f"photo{number}") for number in range(6)}
        store.put_metadata(YEARS)
        index_store(store, scorer, gallery, sizes=sizes)
        assert years(scorer, gallery) == {f"photo{number}": 2000 + number for number in range(6)}
        assert len(search(scorer, old, ["a dog"])[0].hits) == 6  # a search that began before goes on
        store.write([make_record(8)])
        index_store(store, scorer, gallery, sizes=sizes)
        assert years(scorer, gallery, where="year > 2004") == {"photo5": 2005, "photo8": 2008}
    assert len(list(gallery.glob("blocks/*/metadata-*"))) == len(Gallery.open(gallery).blocks)
    with make_store(tmp_path / "bare", range(6)) as store:
        index_store(store, scorer, gallery, sizes=sizes)
        assert columns(Gallery.open(gallery)) == ["id", "path"]


def test_a_changed_byte_of_a_table_is_damage(scorer, tmp_path):
    with make_store(tmp_path / "s", range(6)) as store:
        store.put_metadata(YEARS)
        index_store(store, scorer, tmp_path / "g")
    (file,) = (tmp_path / "g").glob("blocks/*/metadata-*.sqlite")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(GalleryError, match=rf"{file.name} is damaged"):
        matching(Gallery.open(tmp_path / "g"), "year > 2002")
