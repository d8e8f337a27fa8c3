"""Arrays that take long to compute are kept, and made again where the file cannot be trusted."""

from __future__ import annotations

import numpy as np
import pytest
from shan_engine.indexing.kept_arrays import kept_arrays

ARRAYS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2, np.int64)}


@pytest.fixture
def made():
    """How often arrays were made."""
    return []


def kept(file, made, made_from="x"):
    def make():
        made.append(1)
        return ARRAYS

    found = kept_arrays(file, made_from, make)
    assert {name: array.tolist() for name, array in found.items()} == {n: a.tolist() for n, a in ARRAYS.items()}
    assert {name: array.dtype for name, array in found.items()} == {n: a.dtype for n, a in ARRAYS.items()}


def test_they_are_made_once(tmp_path, made):
    kept(tmp_path / "kept.npz", made)
    kept(tmp_path / "kept.npz", made)
    assert len(made) == 1
    kept(tmp_path / "kept.npz", made, made_from="y")
    kept(tmp_path / "kept.npz", made, made_from="y")
    assert len(made) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["kept.npz"]


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "other"])
def test_a_damaged_file_is_made_again(tmp_path, made, damage):
    file = tmp_path / "kept.npz"
    kept(file, made)
    data = bytearray(file.read_bytes())
    place = data.index(ARRAYS["a"].tobytes())
    data[place + 8] ^= 1
    file.write_bytes({"cut": data[:-40], "changed": data, "empty": b"", "other": b"not a file of arrays"}[damage])
    kept(file, made)
    kept(file, made)
    assert len(made) == 2


def test_its_folder_is_not_made(tmp_path, made):
    kept(tmp_path / "nowhere" / "kept.npz", made)
    assert not (tmp_path / "nowhere").exists()
