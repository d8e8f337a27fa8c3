"""Filters: what they let pass is the unfiltered ranking without the rest, and they reach nothing but their table."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shan_engine.base.errors import InputError
from shan_engine.base.metadata import Metadata
from shan_engine.gallery.filters import matching
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.images import BlockSizes, index_store
from shan_engine.kernel.library import variants
from shan_engine.search.answer import search
from shan_engine.search.tuning import StageWidths
from tiny import CAPTIONS, make_record, make_store

IMAGES = 300
LICENCES = ("CC0", "CC-BY", "it's", None)


def known(number: int) -> tuple[int | None, float, str | None]:
    return (None if number % 11 == 0 else 1990 + number % 35, number / 7, LICENCES[number % 4])


@pytest.fixture(scope="module")
def gallery(scorer, tmp_path_factory) -> Gallery:
    """300 images in three blocks, searched in stages; some rows have left, and the last 20 images have no metadata."""
    folder = tmp_path_factory.mktemp("filtered")
    columns = {"year": "INTEGER", "weight": "REAL", "licence": "TEXT"}
    sizes = BlockSizes(128, staged_from=100)
    with make_store(folder / "store", range(IMAGES + 4)) as store:
        store.put_metadata(Metadata(columns, {f"photo{n}": known(n) for n in range(IMAGES - 20)}))
        index_store(store, scorer, folder / "gallery", sizes=sizes)
        store.delete(["photo0", "photo1", "photo200", "photo201"])
        index_store(store, scorer, folder / "gallery", sizes=sizes)
    return Gallery.open(folder / "gallery")


def ids(found) -> list[str]:
    return [hit.image.id for hit in found.hits]


CONDITIONS = {
    "year >= 2020": lambda year, weight, licence, n: year is not None and year >= 2020,
    "year IS NULL": lambda year, weight, licence, n: year is None,
    "licence = 'CC0' AND weight < 20.5": lambda year, weight, licence, n: licence == "CC0" and weight < 20.5,
    "licence = 'it''s' -- mine": lambda year, weight, licence, n: licence == "it's",
    "NOT (\"licence\" LIKE 'cc%')": lambda year, weight, licence, n: licence is not None and licence[:2] != "CC",
    "abs(weight - 10) < 2 OR id = 'photo290'": lambda year, weight, licence, n: (
        n == 290 or (weight is not None and abs(weight - 10) < 2)
    ),
    "path LIKE 'photos/7%'": lambda year, weight, licence, n: str(n).startswith("7"),
    "1": lambda *_: True,
    "0": lambda *_: False,
}


@pytest.mark.parametrize("where", CONDITIONS)
@pytest.mark.parametrize("steps", [False, True], ids=["exhaustive", "in steps"])
def test_a_filtered_search_is_the_exhaustive_one_without_the_rest(scorer, gallery, where, steps):
    options = {"cascade_from": 1} if steps else {}
    whole = search(scorer, gallery, CAPTIONS, top_k=IMAGES + 4, exhaustive=True, explain=False)
    found = search(scorer, gallery, CAPTIONS, top_k=IMAGES + 4, where=where, explain=False, **options)
    for one, every in zip(found, whole, strict=True):
        kept = []
        for hit in every.hits:
            number = int(hit.image.id.removeprefix("photo"))
            row = known(number) if number < IMAGES - 20 else (None, None, None)
            if CONDITIONS[where](*row, number):
                kept.append(hit)
        assert ids(one) == [hit.image.id for hit in kept]
        assert one.matching == len(kept)
        np.testing.assert_allclose([h.score for h in one.hits], [h.score for h in kept], atol=1e-5)
        assert (one.stages is not None) == (steps and bool(kept) and bool(variants()))


@settings(max_examples=25)
@given(least=st.integers(1985, 2030), span=st.integers(0, 40), text=st.sampled_from(["CC0", "CC-BY", "it''s"]))
def test_any_range_is_what_python_says(gallery, least, span, text):
    where = f"year BETWEEN {least} AND {least + span} OR licence = '{text}'"
    expected = set()
    for number in set(range(2, IMAGES - 20)) - {200, 201}:
        year, _, licence = known(number)
        if (year is not None and least <= year <= least + span) or licence == text.replace("''", "'"):
            expected.add(f"photo{number}")
    assert set(matching(gallery, where).ids()) == expected


@pytest.mark.skipif(not variants(), reason="the kernel is not built")
def test_few_seen_of_many_that_match_have_their_exact_scores(scorer, gallery):
    options = {"cascade_from": 1, "widths": StageWidths(60, 20)}
    exact = search(scorer, gallery, CAPTIONS, top_k=IMAGES, where="year > 2000", exhaustive=True)
    for found, wanted in zip(search(scorer, gallery, CAPTIONS, where="year > 2000", **options), exact, strict=True):
        scores = {hit.image.id: hit.score for hit in wanted.hits}
        assert (found.stages.first_pass, found.stages.step_1, found.stages.all_steps) == (len(scores), 60, 20)
        assert all(hit.score == pytest.approx(scores[hit.image.id], abs=1e-5) for hit in found.hits)
        assert len(set(ids(found)) & set(ids(wanted)[:10])) >= 3


def test_widths_are_those_of_the_whole_gallery(scorer, gallery, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "shan_engine.search.answer.choose_widths",
        lambda path, images, *_, **__: asked.append(images) or StageWidths(9, 5),
    )
    search(scorer, gallery, ["a dog"], top_k=3, where="year > 2000", cascade_from=1)
    assert asked == [IMAGES] * bool(variants())


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("yeer >= 2020", "no such column: yeer"),
        ('"yeer" >= 2020', "the filter names 'yeer'"),
        ('licence = "CC0"', "the filter names 'CC0'.*put texts in single quotes"),
        ("year >=", "syntax error"),
        ("year >= 2020)", "syntax error"),
        ("licence = 'CC0", "unrecognized token"),
        ("1) LIMIT (5", "syntax error"),
        ("1) UNION SELECT (2", "not authorized|syntax error|SELECT"),
        ("1; DROP TABLE photos", "syntax error|one statement"),
        ("1); DROP TABLE photos; --", "one statement|syntax error"),
        ("year = (SELECT max(year) FROM photos)", "not authorized"),
        ("EXISTS (SELECT 1 FROM sqlite_master)", "prohibited|not authorized"),
        ("id IN sqlite_master", "prohibited|not authorized|sub-select"),
        ("id IN (SELECT name FROM pragma_database_list)", "prohibited|not authorized"),
        ("load_extension('/tmp/x.so')", "not authorized|no such function"),
        ("count(*) > 1", "misuse of aggregate"),
        ("year = ?", "binding"),
        ("year REGEXP '2'", "no such function: REGEXP"),
        ("year /* 2020", "incomplete input|syntax error"),
        ("a\0b", "null character|syntax error|no such column"),
        ("abs(-9223372036854775807 - 1) = year", "integer overflow"),
        (" ", "a filter is empty"),
    ],
)
def test_what_is_no_condition_is_refused_with_the_columns(scorer, gallery, where, said):
    with pytest.raises(InputError, match=said) as refused:
        search(scorer, gallery, ["a dog"], where=where)
    assert where == " " or "has the columns id, path, year, weight, licence" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_filter_writes_nothing(gallery, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = {file: file.read_bytes() for file in gallery.path.rglob("*.sqlite")}
    for where in ("1); ATTACH 'x.db' AS x; --", "writefile('x', 'y')", "1); PRAGMA user_version = 5; --"):
        with pytest.raises(InputError):
            matching(gallery, where)
    matching(gallery, "year > 1")
    assert {file: file.read_bytes() for file in gallery.path.rglob("*.sqlite")} == before
    assert not list(tmp_path.iterdir())
    assert not [file for file in gallery.path.rglob("*") if file.name.endswith(("-journal", "-wal", "-shm"))]


def test_a_gallery_without_metadata_is_filtered_by_id_and_path(scorer, gallery_path):
    gallery = Gallery.open(gallery_path)
    assert matching(gallery, "id IN ('photo3', 'photo7')").ids() == ["photo3", "photo7"]
    assert matching(gallery, "path LIKE '%/1_.jpg'").ids() == [f"photo{number}" for number in range(10, 20)]
    with pytest.raises(InputError, match=r"no such column: year.*has the columns id, path"):
        matching(gallery, "year > 2000")


def test_names_that_are_no_utf8_are_filtered_with_their_bytes_spelt_out(scorer, tmp_path):
    from dataclasses import replace

    with make_store(tmp_path / "s", range(2)) as store:
        store.write([replace(make_record(5), id="caf\udce9.jpg", path="")])
        store.put_metadata(Metadata({"odd name": "TEXT"}, {"caf\udce9.jpg": ("x",)}))
        index_store(store, scorer, tmp_path / "g")
    gallery = Gallery.open(tmp_path / "g")
    assert matching(gallery, "\"odd name\" = 'x'").ids() == ["caf\udce9.jpg"]
    assert matching(gallery, "id LIKE 'caf\\udce9%'").ids() == ["caf\udce9.jpg"]


def test_the_tables_are_plain_sqlite(gallery):
    seen = 0
    for file in gallery.path.glob("blocks/*/metadata-*.sqlite"):
        connection = sqlite3.connect(file)
        for id, year, licence in connection.execute("SELECT id, year, licence FROM photos"):
            number = int(id.removeprefix("photo"))
            expected = known(number) if number < IMAGES - 20 else (None, None, None)
            assert (year, licence) == (expected[0], expected[2])
            seen += 1
        connection.close()
    assert seen >= IMAGES
