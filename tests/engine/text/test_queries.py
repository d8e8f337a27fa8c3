"""Files of queries, good and bad."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shan_engine.base.errors import InputError
from shan_engine.text.query_files import LONGEST_LINE, read_queries

ROWS = [("sku-1", "a dog"), ("sku-2", 'a "red" hat, on\u2028a cat'), ("7", "un café")]


def write(path: Path, rows) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"sku": id, "title": text, "n": 1}) + "\n" for id, text in rows))
    elif path.suffix == ".csv":
        import csv

        with path.open("w", encoding="utf-8-sig", newline="") as file:
            csv.writer(file).writerows([("sku", "n", "title"), *((id, 1, text) for id, text in rows)])
    elif path.suffix == ".parquet":
        table = {"sku": [id for id, _ in rows], "title": [text for _, text in rows]}
        pyarrow.parquet.write_table(pyarrow.table(table), path)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
class TestColumns:
    def test_texts_and_ids(self, tmp_path, suffix):
        path = write(tmp_path / f"q{suffix}", ROWS)
        found = list(read_queries(path, column="title", id_column="sku"))
        assert [(query.id, query.text) for query in found] == ROWS
        assert [query.id for query in read_queries(path, column="title")] == ["1", "2", "3"]
        assert re.search("line 3|row 3|line 4", found[2].place)

    def test_a_missing_column(self, tmp_path, suffix):
        path = write(tmp_path / f"q{suffix}", ROWS)
        for options, name in (({}, "caption"), ({"column": "title", "id_column": "id"}, "id")):
            with pytest.raises(InputError, match=rf"has no column '{name}', it has .*sku.*: name one with --column"):
                list(read_queries(path, **options))

    def test_an_empty_text_or_id(self, tmp_path, suffix):
        for rows, said in (([("1", "a"), ("2", " ")], "holds no caption"), ([("1", "a"), (" ", "b")], "holds no id")):
            path = write(tmp_path / f"q{suffix}", rows)
            with pytest.raises(InputError, match=rf"q\{suffix}, (line|row) [23]: the column '\w+' {said}"):
                list(read_queries(path, column="title", id_column="sku"))

    def test_a_text_that_is_far_too_long(self, tmp_path, suffix):
        path = write(tmp_path / f"q{suffix}", [("1", "a"), ("2", "dog " * 3_000_000)])
        with pytest.raises(InputError, match=rf"q\{suffix}, (line|row) [23] is longer than 65,536 bytes, which no"):
            list(read_queries(path, column="title"))

    def test_nothing_in_it(self, tmp_path, suffix):
        path = write(tmp_path / f"q{suffix}", [])
        with pytest.raises(InputError, match=r"has no captions"):
            list(read_queries(path, column="title"))

    def test_other_bytes(self, tmp_path, suffix):
        path = tmp_path / f"q{suffix}"
        path.write_bytes(b'{"title":"caf\xe9"}\ntitle\n')
        with pytest.raises(InputError, match=r"is not UTF-8 text \(line 1\)|is not a readable Parquet file"):
            list(read_queries(path, column="title"))


def test_a_number_that_is_no_whole_one_is_no_id(tmp_path):
    (tmp_path / "q.jsonl").write_text('{"caption": "a dog", "id": 1.5}')
    with pytest.raises(InputError, match=r"line 1: the column 'id' holds no id: write a text or a whole number"):
        list(read_queries(tmp_path / "q.jsonl", id_column="id"))
    (tmp_path / "q.jsonl").write_text('{"caption": "a dog", "id": 15}')
    assert [query.id for query in read_queries(tmp_path / "q.jsonl", id_column="id")] == ["15"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("q.jsonl", '{"caption": "a"}\n{', r"line 2 is not JSON \("),
        ("q.jsonl", '{"caption": "a"}\n[1]\n', "line 2 is not a JSON object"),
        ("q.jsonl", '{"caption": "a"}\n\n{"caption": "a"}\n', "line 2 is empty"),
        ("q.csv", "caption\na\n\nb\n", "line 3 is empty"),
        ("q.csv", 'caption\n"a', r"line 2 is not CSV \("),
        ("q.csv", "id,caption\n1,a\n2,b,c\n", "line 3 has 3 columns, the first line 2"),
        ("q.txt", "a\n\n\nb\n", "line 2 is empty: remove it"),
        ("q.txt", "a\n" + "x" * (LONGEST_LINE + 1), "line 2 is longer than 65,536 bytes"),
        ("q.txt", "\n\n", "has no captions"),
        ("q.xls", "a", "give one of .txt, .jsonl, .csv, .parquet"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=said):
        list(read_queries(tmp_path / name))


def test_lines_have_no_columns(tmp_path):
    (tmp_path / "q.txt").write_text("a\n")
    with pytest.raises(InputError, match="has lines, not columns"):
        list(read_queries(tmp_path / "q.txt", column="title"))


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("a dog\r\nun café\n".encode())))
    assert [(query.id, query.text) for query in read_queries(Path("-"))] == [("1", "a dog"), ("2", "un café")]


@settings(max_examples=40)
@given(texts=st.lists(st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip), min_size=1, max_size=5))
def test_any_text_comes_back_from_any_file(tmp_path, texts):
    rows = [(f"id{number}", text) for number, text in enumerate(texts)]
    for suffix in (".jsonl", ".parquet"):
        path = write(tmp_path / f"q{suffix}", rows)
        found = read_queries(path, column="title", id_column="sku")
        assert [(query.id, query.text) for query in found] == [(id, text.strip()) for id, text in rows]


@pytest.mark.parametrize("name", ["q.txt", "q.jsonl", "q.csv", "queries"])
def test_empty_lines_at_the_end_are_allowed(tmp_path, name):
    lines = {"q.jsonl": '{"caption": "a dog"}', "q.csv": "caption\na dog"}
    (tmp_path / name).write_text(lines.get(name, "a dog") + "\n\n\r\n")
    assert [query.text for query in read_queries(tmp_path / name)] == ["a dog"]


def test_a_pipe_has_lines():
    reader, writer = os.pipe()
    os.write(writer, b"a dog\na cat\n")
    os.close(writer)
    try:
        assert [query.text for query in read_queries(Path(f"/dev/fd/{reader}"))] == ["a dog", "a cat"]
    finally:
        os.close(reader)
