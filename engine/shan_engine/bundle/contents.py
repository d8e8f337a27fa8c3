"""A bundle: the graphs, tokenizer and manifest that score without PyTorch.

Files: `manifest.json`, `image_encoder.onnx`, `text_encoder.onnx`, `pair_scorer.onnx`, a tokenizer (`vocab.json` or
`tokenizer.json`), `image_terms.onnx`, `kernel.npz` and `classes.json` where the model has them, and optionally
`querybank.txt`, `learnt.npz` and `feature_extractor.onnx` with its recipe. The engine knows a model only by its graphs:

- image encoder: `features` B x K x F, `region_mask` B x K (bool) -> the arrays a gallery stores;
- image terms: those arrays -> the image arrays that are made from them again when they are scored;
- text encoder: `tokens` C x n (int64), `lengths` C (int64) -> the arrays of a caption;
- pair scorer: all image and caption arrays and `region_mask` by name -> `scores` B x C, `step_scores` B x C x steps,
  and, where the model has it, `word_attention` B x C x n x K: the weight each token gives to each region.

A bundle whose scores have further parts (the package `parts`) has more outputs: `image_vector` B x D of the image
encoder, `query_vector` C x D and `class_weights` C x L of the text encoder. `classes.json` lists the L classes' names.

`querybank.txt` has a query on each line (indexing/querybank.py). `learnt.npz` says in `tokens`, a bit each
(numpy.packbits), which tokens photos taught the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import BundleError, InputError
from shan_engine.base.files import sha256
from shan_engine.base.json_text import decode_json
from shan_engine.base.packing import read_npz
from shan_engine.bundle.manifest import GRAPHS, QUERYBANK, Manifest
from shan_engine.text.tokenizer import Tokenizer
from shan_engine.text.tokenizer_files import TOKENIZERS, load_tokenizer, tokenizer_file

IMAGE_TERMS = "image_terms.onnx"
CLASSES = "classes.json"
LEARNT = "learnt.npz"
_MOST_LEARNT_BYTES = 2**26


@dataclass(frozen=True)
class Bundle:
    """An opened bundle; its graphs are loaded by a scorer."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: Path) -> Bundle:
        """Read the manifest and check every file against it.

        Raises BundleError for a missing or changed file, or a newer schema.
        """
        manifest = Manifest.load(path)
        for _, fault in bundle_faults(path, manifest):
            raise BundleError(fault)
        return cls(path, manifest)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """What turns texts into the text encoder's tokens. Raises InputError where its file is damaged."""
        name = tokenizer_file(self.manifest.files)
        assert name is not None  # `open` looked
        return load_tokenizer(self.path / name)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that photos are seen as, by number; empty where the bundle has none."""
        if CLASSES not in self.manifest.files:
            return ()
        names = decode_json((self.path / CLASSES).read_text("utf-8"))
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise BundleError(f"{self.path / CLASSES} is not a list of names: export the bundle again")
        return tuple(names)

    @cached_property
    def querybank(self) -> tuple[str, ...]:
        """Queries of many topics, over which `index` measures images' hubness; empty where the bundle has none."""
        if not self.manifest.querybank:
            return ()
        return tuple((self.path / QUERYBANK).read_text("utf-8").splitlines())

    @cached_property
    def learnt(self) -> NDArray[np.bool_] | None:
        """Whether photos taught the model a token, by number; None where the bundle does not say."""
        if LEARNT not in self.manifest.files:
            return None
        try:
            held = read_npz(self.path / LEARNT, most_bytes=_MOST_LEARNT_BYTES)
            return np.unpackbits(held["tokens"], count=len(self.tokenizer)).astype(np.bool_)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise BundleError(f"{self.path / LEARNT} cannot be read ({error}): export the bundle again") from error

    def learnt_word(self, word: str) -> bool:
        """Whether photos taught the model a word whole; so does a bundle that does not say."""
        if self.learnt is None:
            return True
        try:
            read = self.tokenizer.read(word, self.manifest.max_words)
        except InputError:  # it has no letter that the tokenizer takes
            return False
        tokens = [read.tokens[place] for one in read.words for place in one.tokens]
        return not read.unknown and bool(self.learnt[tokens].all())

    @property
    def feature_extractor(self) -> Path | None:
        """The extractor's ONNX file, where the bundle has one."""
        path = self.path / "feature_extractor.onnx"
        return path if path.is_file() else None


def bundle_faults(path: Path, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Each file of a bundle that is missing or changed, and a sentence that says so."""
    missing = [name for name in GRAPHS if name not in manifest.files]
    if tokenizer_file(manifest.files) is None:
        missing.append(" or ".join(TOKENIZERS))
    for name in missing:
        yield name, f"the manifest of {path} does not list {name}: export the bundle again"
    for name, expected in manifest.files.items():
        file = path / name
        if not file.is_file():
            yield name, f"the bundle {path} has no {name}: export it again"
        elif sha256(file) != expected:
            yield name, f"{file} is not the file that was exported: copy or export the bundle again"
