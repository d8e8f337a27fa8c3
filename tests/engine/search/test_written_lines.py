"""Hits show which lines a query's words are written in, and files that leave keep them back."""

from __future__ import annotations

import pytest
from shan_engine.engine import Engine
from shan_engine.search.hints import hints
from shan_engine.search.query import Query
from shan_engine.writers.html_report import write_report
from shan_engine.writers.json_answer import as_dict
from tiny import CAPTIONS, make_store
from written_photos import indexed, write_texts, written_gallery

HOSTILE = "</q><script>alert('hardware')</script> \u202ebudget"


@pytest.fixture(scope="module")
def engine(scorer, tmp_path_factory):
    return Engine(scorer, written_gallery(tmp_path_factory.mktemp("lines"), scorer))


@pytest.mark.parametrize(
    ("query", "id", "lines"),
    [
        ("a whiteboard with the budget", "photo3", ["BUDGET 2024"]),
        ("the budget, 100 in total", "photo3", ["BUDGET 2024", "Total 1O0.50"]),
        ("hardware", "photo20", ["Hardware Store"]),
        ('"store receipt"', "photo20", ["Hardware Store", "receipt no. 42"]),
        ('"budget of the school"', "photo21", ["2024 budget of the school"]),
        (CAPTIONS[0], "photo3", []),
    ],
)
def test_a_hit_shows_the_lines(engine, query, id, lines):
    found = engine.search(f"{CAPTIONS[0]} {query}", top_k=200)
    (hit,) = (hit for hit in found if hit.image.id == id)
    assert [line.text for line in hit.written] == lines
    told = [{"text": line.text, "confidence": 0.9, "box": line.box} for line in hit.written]
    assert told == next(one["written"] for one in as_dict(found)["hits"] if one["id"] == id)
    if lines == ["BUDGET 2024"]:
        assert hit.written[0].box == (10.0, 0.0, 90.0, 18.0)


def test_without_explanations_there_are_no_lines(engine):
    assert {hit.written for hit in engine.search("budget", explain=False)} == {()}


def test_a_query_is_told_what_quotation_marks_mean(engine):
    assert engine.search('"budget 2024"').hints == ()
    assert hints(Query.of('"budget 2024"'), []) == (
        "quotation marks do not ask for exact words: every word counts alone",
    )


def test_a_report_shows_text_only_where_it_is_asked_for(scorer, tmp_path):
    make_store(tmp_path / "store", range(4)).close()
    write_texts(tmp_path / "store", {"photo1": [HOSTILE, "secret"]})
    engine = Engine(scorer, indexed(tmp_path / "store", scorer, tmp_path / "gallery"))
    results = engine.search_all("hardware", with_metadata=True)
    assert results[0].hits[0].metadata["text"].endswith("secret")
    write_report(tmp_path / "private.html", results)
    private = (tmp_path / "private.html").read_text("utf-8")
    assert "alert(" not in private
    assert "secret" not in private
    write_report(tmp_path / "shown.html", results, with_text=True)
    shown = (tmp_path / "shown.html").read_text("utf-8")
    assert "&lt;script&gt;alert(&#39;hardware&#39;)&lt;/script&gt; budget</q>" in shown
    assert "<script>alert" not in shown
    assert "\u202e" not in shown
    assert "secret" not in shown
