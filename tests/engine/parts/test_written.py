"""What is written in photos: a part of the score that is the same everywhere, and true as a gallery changes."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from gallery_scores import by_id
from shan_engine.base.errors import GalleryError
from shan_engine.engine import Engine
from shan_engine.gallery.reader import Gallery
from shan_engine.gallery.written import WrittenFile
from shan_engine.gallery.written_format import docs_of, written_path
from shan_engine.indexing.copy import merge_galleries, split_gallery
from shan_engine.indexing.forget_text import forget_text
from shan_engine.indexing.images import index_store
from shan_engine.indexing.written_anew import BlockTexts, write_written
from shan_engine.jobs.options import JobOptions
from shan_engine.jobs.run import score_job
from shan_engine.kernel.library import variants
from shan_engine.parts.written import WrittenWords
from shan_engine.search.answer import search
from shan_engine.search.query import Query
from shan_engine.store.feature_store import FeatureStore
from shan_engine.text.query_files import numbered
from tiny import CAPTIONS, make_store
from written_photos import SIZES, TEXTS, indexed, lines_of, write_texts, written_gallery

QUERIES = [
    "the budget",
    "a receipt of the hardware store",
    '"budget 2024"',
    "a dog on grass",
    "42",
    "東京",
    *CAPTIONS[:2],
]


@pytest.fixture(scope="module")
def folder(scorer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    written_gallery(folder, scorer)
    return folder


@pytest.fixture(scope="module")
def gallery(folder, scorer):
    return Gallery.open(folder / "gallery", scorer.bundle)


def evidence(gallery: Gallery, query: str) -> dict[str, float]:
    """The ids of the photos for which the written words speak, and how much."""
    words, found = WrittenWords([gallery]), {}
    for block in gallery.blocks:
        values = words.evidence(words.docs(block, block.rows), query)
        found |= {id: float(value) for id, value in zip(block.ids, values, strict=True) if value}
    return found


@pytest.mark.parametrize(
    ("query", "best", "also"),
    [
        ("the whiteboard with the budget", {"photo3", "photo21"}, set()),
        ('"budget 2024"', {"photo3"}, set()),
        ('"2024 budget"', {"photo21"}, set()),
        ("budget 2024", {"photo3", "photo21"}, set()),
        ("receipt hardware store", {"photo20"}, {"photo119"}),
        ("a bus with the number 42", {"photo20"}, set()),
        ("100", {"photo3"}, set()),  # read as 1O0
        ("hardwaro", {"photo20", "photo119"}, set()),
        ("hardw*", {"photo20", "photo119"}, set()),
        ("hard", {"photo20", "photo119"}, set()),
        ("cafe muller", {"photo100"}, set()),
        ("CAFÉ MÜLLER", {"photo100"}, set()),
        ("東京", {"photo100"}, set()),
        ("京東", set(), set()),
        ("4", set(), set()),
        ("of the", set(), set()),
        ('"of the school"', {"photo21"}, set()),
        ("' OR 1=1 --", set(), set()),
    ],
)
def test_words_of_a_query_find_where_they_are_written(gallery, query, best, also):
    found = evidence(gallery, query)
    assert set(found) == best | also
    assert all(found[one] > found[other] for one in best for other in also)


def test_exact_counts_more_than_longer_and_misspelt(scorer, tmp_path):
    make_store(tmp_path / "store", range(8)).close()
    texts = {"photo0": ["parking"], "photo1": ["parkings"], "photo2": ["parkinq"], "photo3": ["park1ng"]}
    write_texts(tmp_path / "store", texts)
    found = evidence(indexed(tmp_path / "store", scorer, tmp_path / "gallery"), "parking")
    assert sorted(found, key=lambda id: -found[id]) == ["photo0", "photo3", "photo1", "photo2"]


def test_phrases_of_common_and_of_rare_words(tmp_path, monkeypatch):
    monkeypatch.setattr("shan_engine.indexing.written_anew.FEWEST_COMMON", 40)
    random = np.random.default_rng(4)
    texts = [random.choice(["the", "of", "cat", "sat", "zebra"], 6, p=[0.4, 0.3, 0.2, 0.08, 0.02]) for _ in range(50)]
    lines = {row: lines_of(" ".join(own[:4]), " ".join(own[4:])) for row, own in enumerate(texts)}
    file = WrittenFile(tmp_path, write_written(tmp_path, [BlockTexts("0" * 12, 50, lines)], photos=50))
    assert len(list(file.tree.items("q", "r"))) == 9
    words = [" ".join(own) for own in texts]
    for count in (1, 2, 3, 4):
        for phrase in {tuple(own[at : at + count]) for own in texts for at in range(7 - count)}:
            wanted = [row for row, text in enumerate(words) if f" {' '.join(phrase)} " in f" {text} "]
            assert docs_of(file.in_order(phrase)).tolist() == wanted
    assert not len(file.in_order(("cat", "dog")))
    assert not len(file.in_order(("zebra",) * 3))


def test_a_word_alone_and_a_beginning_may_be_meant_as_written(gallery):
    one, among = evidence(gallery, "dog")["photo70"], evidence(gallery, "a dog")["photo70"]
    assert one > among
    assert evidence(gallery, "do*")["photo70"] == evidence(gallery, '"dog"')["photo70"] > one


def test_rare_words_count_more(gallery):
    assert evidence(gallery, "receipt")["photo20"] > evidence(gallery, "budget")["photo3"]


def test_a_score_is_the_models_and_what_is_written(folder, scorer, gallery, tmp_path):
    shutil.copytree(folder / "store", tmp_path / "store")
    with FeatureStore.open(tmp_path / "store", readonly=False) as store:
        store.forget_text()
    plain = indexed(tmp_path / "store", scorer, tmp_path / "plain")
    without, found = Engine(scorer, plain).score(QUERIES), Engine(scorer, gallery).score(QUERIES)
    for column, query in enumerate(QUERIES):
        speaks = evidence_of(scorer, gallery, query)
        np.testing.assert_allclose(
            found[:, column] - without[:, column], [speaks.get(id, 0) for id in gallery.ids()], rtol=0, atol=1e-5
        )
    assert not plain.manifest.written
    assert without.tobytes() == Engine(scorer, plain).score(QUERIES).tobytes()


def evidence_of(scorer, gallery, query) -> dict[str, float]:
    reading = scorer.reading([gallery])
    (part,) = reading.parts
    found = {}
    for block in gallery.blocks:
        values = part.weight * part.words.evidence(part.words.docs(block, block.rows), query)
        found |= {id: float(value) for id, value in zip(block.ids, values, strict=True) if value}
    return found


def test_every_command_gives_the_same_scores(scorer, gallery, tmp_path):
    expected = Engine(scorer, gallery).score(QUERIES)
    places = {id: place for place, id in enumerate(gallery.ids())}
    for number, result in enumerate(search(scorer, gallery, QUERIES, top_k=120, exhaustive=True)):
        assert result.score_parts == ("l2l", "g2l", "g2g", "written")
        for hit in result:
            assert hit.score == pytest.approx(expected[places[hit.image.id], number], abs=1e-5)
            assert sum(hit.step_scores) == pytest.approx(hit.score, abs=1e-5)
    score_job(scorer, [gallery], numbered(QUERIES), tmp_path / "best.parquet", options=JobOptions(top_k=5))
    for row in pq.read_table(tmp_path / "best.parquet").to_pylist():
        assert row["score"] == pytest.approx(expected[places[row["image_id"]], int(row["query_id"]) - 1], abs=1e-5)
        assert sum(row[name] for name in ("l2l", "g2l", "g2g", "written")) == pytest.approx(row["score"], abs=1e-5)


@pytest.mark.skipif(not variants(), reason="the kernel is not built")
def test_stages_find_what_an_exhaustive_search_finds(scorer, gallery):
    asked = [Query.of("a receipt", also=["hardware:0.5"], without="a dog"), *QUERIES]
    stages = search(scorer, gallery, asked, top_k=12, recall_target=1.0)
    for found, wanted in zip(stages, search(scorer, gallery, asked, top_k=12, exhaustive=True), strict=True):
        assert found.stages.proven
        assert [hit.image.id for hit in found] == [hit.image.id for hit in wanted]
        np.testing.assert_allclose([hit.score for hit in found], [hit.score for hit in wanted], rtol=0, atol=1e-5)


def test_additions_and_deletions_keep_the_index_true(folder, scorer, tmp_path):
    shutil.copytree(folder / "store", tmp_path / "store")
    first = indexed(tmp_path / "store", scorer, tmp_path / "gallery")
    with FeatureStore.open(tmp_path / "store", readonly=False) as store:
        store.delete(["photo3", "photo100"])
        store.put_text({"photo70": lines_of("CAT"), "photo50": lines_of("budget")}, reader="test 1")
        index_store(store, scorer, tmp_path / "gallery", sizes=SIZES)
    changed = Gallery.open(tmp_path / "gallery", scorer.bundle)
    shutil.copytree(tmp_path / "store", tmp_path / "other")
    anew = indexed(tmp_path / "other", scorer, tmp_path / "anew")
    assert set(evidence(changed, "budget")) == {"photo21", "photo50"}
    assert set(evidence(first, "budget")) == {"photo3", "photo21"}  # a process that had it open
    for query in ("cat", "dog", "hardware", "2024", "東京"):
        assert evidence(changed, query) == evidence(anew, query)
    before = changed.manifest.written
    assert indexed(tmp_path / "store", scorer, tmp_path / "gallery").manifest.written == before
    assert list((tmp_path / "gallery").glob("written-*")) == [written_path(tmp_path / "gallery", before)]


def test_shards_agree_with_the_whole(scorer, gallery, tmp_path):
    whole = dict(zip(gallery.ids(), Engine(scorer, gallery).score(QUERIES), strict=True))
    parts = [Gallery.open(part) for part in split_gallery(gallery, 3, tmp_path / "split")]
    for part in parts:
        for id, scores in zip(part.ids(), Engine(scorer, part).score(QUERIES), strict=True):
            np.testing.assert_allclose(scores, whole[id], rtol=0, atol=1e-5)
    merged = merge_galleries(parts, tmp_path / "merged")
    assert set(evidence(merged, "budget")) == {"photo3", "photo21"}
    score_job(scorer, parts, numbered(QUERIES), tmp_path / "all.parquet", options=JobOptions(top_k=120))
    for row in pq.read_table(tmp_path / "all.parquet").to_pylist():
        assert row["score"] == pytest.approx(whole[row["image_id"]][int(row["query_id"]) - 1], abs=1e-5)


def test_merging_counts_words_over_all(scorer, tmp_path):
    galleries = []
    for name, numbers in (("one", range(10)), ("two", range(10, 20))):
        make_store(tmp_path / f"{name}.store", numbers).close()
        write_texts(tmp_path / f"{name}.store", {f"photo{numbers[0]}": ["budget"], f"photo{numbers[1]}": [name]})
        galleries.append(indexed(tmp_path / f"{name}.store", scorer, tmp_path / name))
    merged = merge_galleries(galleries, tmp_path / "merged")
    assert set(evidence(merged, "budget")) == {"photo0", "photo10"}
    assert evidence(merged, "budget")["photo0"] < evidence(merged, "two")["photo11"]
    apart = WrittenWords(galleries)
    for gallery in galleries:  # several galleries in a row count as one
        block = gallery.blocks[0]
        found = dict(zip(block.ids, apart.evidence(apart.docs(block, block.rows), "budget").tolist(), strict=True))
        assert {id: value for id, value in found.items() if value} == {
            id: value for id, value in evidence(merged, "budget").items() if id in block.ids
        }


def test_text_is_a_column(scorer, gallery):
    engine = Engine(scorer, gallery)
    assert engine.columns == ["id", "path", "text"]
    found = engine.search(CAPTIONS[0], where="text like '%hardware%'")
    assert {hit.image.id for hit in found} == {"photo20", "photo119"}
    assert {hit.metadata["text"] for hit in found} == {"Hardware Store\nreceipt no. 42", "hardware"}


def test_orders_to_a_terminal_are_not_kept(scorer, tmp_path):
    make_store(tmp_path / "store", range(4)).close()
    hostile = "\x1b[31mred \u202egnp.exe\u202c <script>alert(1)</script>\x9b2J'; DROP TABLE photos"
    write_texts(tmp_path / "store", {"photo1": [hostile, " ".join(["again"] * 10_000), "\x00"]})
    gallery = indexed(tmp_path / "store", scorer, tmp_path / "gallery")
    (hit,) = Engine(scorer, gallery).search(CAPTIONS[0], where="text is not null")
    assert hit.metadata["text"].startswith("[31mred gnp.exe <script>alert(1)</script> 2J'; DROP TABLE photos\nagain")
    assert evidence(gallery, "script") == {"photo1": pytest.approx(evidence(gallery, "again")["photo1"])}


@pytest.mark.parametrize("damage", ["cut", "byte", "gone"])
def test_a_damaged_index_is_told_and_written_again(folder, scorer, tmp_path, damage):
    shutil.copytree(folder / "store", tmp_path / "store")
    held = indexed(tmp_path / "store", scorer, tmp_path / "gallery")
    file = written_path(tmp_path / "gallery", held.manifest.written)
    if damage == "gone":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:700])
    else:
        file.write_bytes(file.read_bytes().replace(b"pbudget", b"pbvdget"))
    with pytest.raises(GalleryError, match=r"written words .* damaged: write it again with `shan-engine index STORE"):
        Engine(scorer, Gallery.open(tmp_path / "gallery")).search("budget")
    renewed = indexed(tmp_path / "store", scorer, tmp_path / "gallery")
    assert set(evidence(renewed, "budget")) == {"photo3", "photo21"}


def test_forgetting_leaves_no_text_behind(folder, scorer, tmp_path):
    gallery = shutil.copytree(folder / "gallery", tmp_path / "gallery")
    assert forget_text(gallery)
    assert not forget_text(gallery)
    left = Engine(scorer, Gallery.open(gallery, scorer.bundle))
    assert left.columns == ["id", "path"]
    assert left.search(CAPTIONS[0]).score_parts == ("l2l", "g2l", "g2g")
    for file in gallery.rglob("*"):
        assert file.is_dir() or not any(text[0].encode() in file.read_bytes() for text in TEXTS.values())


def test_a_table_tells_text_only_where_it_is_asked_for(scorer, gallery, tmp_path):
    for with_text in (False, True):
        result, options = tmp_path / f"{with_text}.parquet", JobOptions(top_k=3, direction="image-to-text")
        score_job(scorer, [gallery], numbered(QUERIES), result, options=options, with_text=with_text)
    assert "text" not in pq.read_table(tmp_path / "False.parquet").column_names
    rows = pq.read_table(tmp_path / "True.parquet").to_pylist()
    told = {(row["image_id"], row["query"]): row["text"] for row in rows}
    assert told["photo3", "the budget"] == "BUDGET 2024"
    assert told["photo20", "a receipt of the hardware store"] == "Hardware Store\nreceipt no. 42"
    assert not any(text for (id, _), text in told.items() if id not in TEXTS)


def test_photos_where_nothing_is_written_have_no_index(scorer, tmp_path):
    make_store(tmp_path / "store", range(4)).close()
    write_texts(tmp_path / "store", {"photo1": [], "photo2": [" \x00 "]})
    gallery = indexed(tmp_path / "store", scorer, tmp_path / "gallery")
    assert gallery.manifest.written == ""
    assert "written" not in (tmp_path / "gallery" / "manifest.json").read_text()
    assert by_id(scorer, gallery, tmp_path)
