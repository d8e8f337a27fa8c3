"""Kinds of hostile input that fuzzing found, a few inputs each: one sentence, soon, and in little memory."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image
from shan_engine.base.errors import InputError, ShanError
from shan_engine.base.metadata import Metadata
from shan_engine.gallery.filters import matching
from shan_engine.gallery.reader import Gallery
from shan_engine.photos.extractor import read_recipe
from shan_engine.photos.facts.collect import read_embedded
from shan_engine.store.importers.npz_folder import open_npz_folder
from shan_engine.store.importers.scan_npy import open_npy
from shan_engine.text.query_files import read_queries
from shan_engine.text.tokenizer_files import load_tokenizer
from shan_engine.text.vocabulary import Vocabulary
from shan_model.checkpoint import load_checkpoint

DEEP, HUGE, LONG = "[" * 100_000, '{"a": 1e400}', '{"a": ' + "9" * 5000 + "}"


def told(read: Callable[[], object]) -> str:
    with pytest.raises(ShanError) as raised:
        read()
    sentence = str(raised.value)
    assert "\n" not in sentence
    assert "allow_pickle" not in sentence
    return sentence


@pytest.mark.parametrize("text", [DEEP, HUGE, LONG, '{"a": Infinity}', "{}", "[]", "7", "null"])
def test_json_of_every_reader(tmp_path: Path, text: str) -> None:
    for name in ("vocab.json", "tokenizer.json", "extractor.json", "queries.jsonl"):
        (tmp_path / name).write_text(text)
    (tmp_path / "extractor.onnx").touch()
    told(lambda: Vocabulary.load(tmp_path / "vocab.json"))
    told(lambda: load_tokenizer(tmp_path / "tokenizer.json"))
    told(lambda: read_recipe(tmp_path / "extractor.onnx"))
    told(lambda: list(read_queries(tmp_path / "queries.jsonl")))


def test_a_small_archive_of_large_arrays_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shan_engine.store.importers.npz_folder._MOST_BYTES", 2**20)
    np.savez_compressed(tmp_path / "a.npz", features=np.zeros((2**10, 512), np.float32))
    assert (tmp_path / "a.npz").stat().st_size < 5000
    assert "its arrays are larger than 1,048,576 bytes" in told(lambda: open_npz_folder(tmp_path))


def test_files_of_python_objects_are_refused_without_advice_to_run_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", features=np.array([{}], object))
    np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    assert "it holds Python objects, which may run any program" in told(lambda: open_npz_folder(tmp_path))
    told(lambda: open_npy(tmp_path / "a.npy"))


@pytest.mark.parametrize(
    "column",
    [
        pyarrow.array([2**30], pyarrow.int32()).cast(pyarrow.date32()),
        pyarrow.array([2**62], pyarrow.timestamp("us")),
        pyarrow.array([1], pyarrow.timestamp("us", "No/Where")),
    ],
)
def test_times_that_python_cannot_tell(tmp_path: Path, column: Any) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"id": ["a"], "taken": column}), tmp_path / "m.parquet")
    assert "write dates and times as text" in told(lambda: Metadata.read(tmp_path / "m.parquet"))


def test_a_cell_of_very_many_digits_is_read_at_once(tmp_path: Path) -> None:
    """A pattern that can part the digits in many ways takes minutes here."""
    cell = "9" * 130_000 + "x"
    (tmp_path / "m.csv").write_text(f"id,much\na,{cell}\n")
    assert Metadata.read(tmp_path / "m.csv").rows == {"a": (cell,)}


def test_a_table_of_very_many_columns_is_refused_at_once(tmp_path: Path) -> None:
    names = ",".join(f"c{number}" for number in range(30_000))
    (tmp_path / "m.csv").write_text(f"id,{names}\n")
    assert "has 30000 columns beside the id: keep at most 500" in told(lambda: Metadata.read(tmp_path / "m.csv"))


@pytest.mark.parametrize("size", [2**63, 10**400], ids=["2^63", "10^400"])
def test_sizes_that_no_model_has(checkpoint: Any, tmp_path: Path, size: int) -> None:
    folder = Path(shutil.copytree(checkpoint.folder, tmp_path / "c"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "embed_dim": size}))
    assert "sizes that no model has" in told(lambda: load_checkpoint(folder))


def test_facts_of_a_photo_run_no_other_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {ran}\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    Image.new("RGB", (40, 20)).save(tmp_path / "a.jpg", "EPS")
    assert read_embedded(tmp_path / "a.jpg")[1] == (0, 0)
    assert not ran.exists()


SLOW = "(" + " + ".join(["length(replace(hex(zeroblob(9000)), '00', id))"] * 900) + ") > 0"


def test_a_filter_hears_an_interrupt(gallery_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shan_engine.gallery.filters._PATIENT_STEPS", 20)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)

    def interrupted() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        matching(Gallery.open(gallery_path), SLOW)

    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_filter_without_a_limit_of_its_own_ends_after_a_while(
    gallery_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shan_engine.gallery.filters._PATIENCE", 0.2)
    monkeypatch.setattr("shan_engine.gallery.filters._PATIENT_STEPS", 20)
    with pytest.raises(InputError, match=r"the filter takes longer than 0\.2 s: give a simpler one"):
        matching(Gallery.open(gallery_path), SLOW)
