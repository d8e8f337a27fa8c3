"""`read`, `--read-text`, `store forget-text` and a collection that reads."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from in_process import output_of, refusal, shan
from shan_engine.base.text_lines import TextLine
from shan_engine.photos import text_reader
from shan_engine.photos.text_reader import ReadPhoto
from shan_engine.store.feature_store import FeatureStore
from writing import written

HOSTILE = "\x1b]0;title\x07\u202egnp.exe\u2066<b>[red]\x9b2J"


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a", "b"):
        written(f"word {name}", size=(200, 100)).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def hostile_reader(monkeypatch):
    """A reader that finds one line, which a terminal would obey."""

    class Hostile:
        name = "hostile 1"

        def __init__(self, **options: object) -> None:
            pass

        def __call__(self, path: Path) -> ReadPhoto:
            return ReadPhoto((TextLine(HOSTILE, 0.75, (1.0, 2.0, 30.0, 4.0)),))

    monkeypatch.setattr(text_reader, "TextReader", Hostile)


def test_what_is_written_never_reaches_the_terminal_as_it_is(hostile_reader):
    printed = output_of("read", "any.jpg")
    assert printed == r"0.75  1,2,30,4              \x1b]0;title\x07\u202egnp.exe\u2066<b>[red]\x9b2J" + "\n"
    raw = output_of("read", "any.jpg", "--json")
    assert not set(raw) & set("\x1b\x07\u202e\u2066\x9b")
    answer = json.loads(raw)
    assert answer["lines"] == [{"text": HOSTILE, "confidence": 0.75, "box": [1.0, 2.0, 30.0, 4.0]}]
    assert (answer["reader"], answer["photo"]) == ("hostile 1", "any.jpg")


def test_photos_in_a_store_are_read_later_and_forgotten(hostile_reader, photos, seeing_bundle, tmp_path):
    extract = ["extract", photos, "--store", tmp_path / "s", "--model", seeing_bundle]
    output_of(*extract)
    assert "reading" not in json.loads(output_of(*extract, "--json"))
    found = json.loads(output_of(*extract, "--read-text", "--json"))
    assert (found["added"], found["reading"]["read"], found["reading"]["lines"]) == (0, 2, 2)
    again = shan(*extract, "--read-text")
    assert "text read in 0 photos, 0 have 0 lines; 2 were read before" in again.stderr
    with FeatureStore.open(tmp_path / "s") as store:
        assert [lines[0].text for _, lines in store.texts()] == [HOSTILE] * 2
    assert json.loads(output_of("store", "info", tmp_path / "s", "--json"))["images_read_for_text"] == 2
    output_of("index", tmp_path / "s", "--output", tmp_path / "g", "--model", seeing_bundle)
    assert _traces(tmp_path) != []
    said = shan("store", "forget-text", tmp_path / "s", "--gallery", tmp_path / "g").stderr
    assert "text of 2 photos is forgotten" in said
    assert "its text is forgotten" in said
    assert _traces(tmp_path) == []
    assert "keep their text: name them" in shan("store", "forget-text", tmp_path / "s").stderr
    with FeatureStore.open(tmp_path / "s") as store:
        assert (dict(store.texts()), len(store)) == ({}, 2)


def _traces(folder: Path) -> list[Path]:
    """Files with the text that the reader found."""
    return [path for path in folder.rglob("*") if path.is_file() and b"gnp.exe" in path.read_bytes()]


def test_a_collection_that_reads(hostile_reader, photos, seeing_bundle, tmp_path, monkeypatch):
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr("shan_engine.updating.update.TextReader", text_reader.TextReader)
    file = Path(json.loads(output_of("init", photos, "--model", seeing_bundle, "--read-text", "--json"))["file"])
    assert "read_text = true" in file.read_text("utf-8")
    first, second = (json.loads(output_of("update", "--json")) for _ in range(2))
    assert (first["reading"]["read"], second["reading"]["read"], second["reading"]["known"]) == (2, 0, 2)
    file.write_text(file.read_text("utf-8").replace("read_text = true", "read_text = false"), "utf-8")
    assert "reading" not in json.loads(output_of("update", "--json"))
    assert _traces(tmp_path) != []
    output_of("store", "forget-text", tmp_path / "shan-engine" / "photos" / "store")
    assert _traces(tmp_path) == []


@pytest.mark.parametrize("command", [["read", "any.jpg"], ["extract", "photos", "--store", "s", "--read-text"]])
def test_without_the_extra_one_sentence_names_it(command, monkeypatch, tmp_path, seeing_bundle):
    monkeypatch.chdir(tmp_path)
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "rapidocr" else there(name))
    model = ["--model", seeing_bundle] if command[0] == "extract" else []
    said = refusal(*command, *model)
    assert "rapidocr is not installed: pip install '.[ocr]'" in said
    assert not (tmp_path / "s").exists()
