"""A folder is put in its place whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from shan_engine.base.errors import InputError
from shan_engine.base.files import fresh_folder


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def make(output: Path, name: str, *, overwrite: bool = False, meanwhile: str = "") -> None:
    with fresh_folder(output, overwrite=overwrite) as fresh:
        (fresh / name).touch()
        if meanwhile:
            make(output, meanwhile)


def test_a_folder_is_new_or_takes_the_others_place(tmp_path):
    make(tmp_path / "above" / "output", "first")
    assert names(tmp_path) == ["above", "above/output", "above/output/first"]
    with pytest.raises(InputError, match="output is there already: choose a new folder"):
        make(tmp_path / "above" / "output", "second")
    make(tmp_path / "above" / "output", "second", overwrite=True)
    assert names(tmp_path) == ["above", "above/output", "above/output/second"]


def test_a_folder_made_meanwhile_by_another_stays(tmp_path):
    with pytest.raises(InputError, match=f"cannot write {tmp_path / 'output'}"):
        make(tmp_path / "output", "late", meanwhile="early")
    assert names(tmp_path) == ["output", "output/early"]


def test_nothing_is_left_of_one_that_fails(tmp_path):
    with pytest.raises(InputError, match=f"cannot write {tmp_path / 'output'}"):
        make(tmp_path / "output", "no such/file")
    assert names(tmp_path) == []
