"""Encode captions and images to the arrays that scores are computed from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.backends.interface import Graph
from shan_engine.base.errors import BundleError, InputError
from shan_engine.base.packing import Arrays
from shan_engine.bundle.contents import IMAGE_TERMS, Bundle
from shan_engine.bundle.manifest import IMAGE_ENCODER, TEXT_ENCODER
from shan_engine.kernel.constants import REGIONS, ShanConstants
from shan_engine.text.tokenizer import Tokenized, pad, shortened, visible_text

KEPT_WORDS = 4096  # class weights of 1,000 classes take 4 kB each


class Encoders:
    """A bundle's graphs, each loaded on first use and kept. Several threads may encode at once."""

    def __init__(self, bundle: Bundle, load: Callable[[str], Graph], constants: ShanConstants | None) -> None:
        self.bundle = bundle
        self._needed = {IMAGE_ENCODER: (REGIONS,), TEXT_ENCODER: constants.caption_arrays} if constants else {}
        self._load, self._loaded, self._loading = load, dict[str, Graph](), Lock()
        self._words = dict[tuple[str, tuple[int, ...]], NDArray[Any]]()

    def graph(self, name: str) -> Graph:
        """A graph of the bundle by its file name. Raises BundleError where it does not give what is scored."""
        with self._loading:
            if name not in self._loaded:
                graph = self._load(name)
                for array in self._needed.get(name, ()):
                    if array not in graph.outputs:
                        raise BundleError(f"{self.bundle.path / name} has no output {array}: export the bundle again")
                self._loaded[name] = graph
            return self._loaded[name]

    def encode_images(self, features: NDArray[np.float32], region_mask: NDArray[np.bool_]) -> Arrays:
        """Encode features B x K x F and mask B x K to what a gallery stores, mask included: arrays B x their shape.

        Raises InputError for more regions than the model has places for.
        """
        most = self.bundle.manifest.model.get("most_regions")
        if most is not None and features.shape[1] > most:
            raise InputError(
                f"an image has {features.shape[1]} regions, the model of the bundle {self.bundle.path} takes at most "
                f"{most}: extract or import fewer regions an image"
            )
        encoded = self.graph(IMAGE_ENCODER).run({"features": features, "region_mask": region_mask})
        return {**encoded, "region_mask": region_mask}

    def complete(self, images: Mapping[str, NDArray[Any]], names: Sequence[str] | None = None) -> Arrays:
        """Image arrays that the bundle recomputes from those that a gallery stores: all, or only `names`.

        Raises BundleError where it cannot.
        """
        if IMAGE_TERMS in self.bundle.manifest.files and (names is None or names):
            return {**images, **self.graph(IMAGE_TERMS).run(images, names)}
        if not set(names or ()) <= set(images):
            raise BundleError(f"the bundle {self.bundle.path} has no {IMAGE_TERMS} for its steps: export it again")
        return dict(images)

    def image_array_shapes(self, regions: int) -> dict[str, tuple[int, ...]]:
        """Shape per image of every array that a gallery stores, for images padded to `regions`."""
        dim = self.bundle.manifest.feature_dim
        probe = self.encode_images(np.ones((1, regions, dim), np.float32), np.ones((1, regions), np.bool_))
        return {name: array.shape[1:] for name, array in probe.items()}

    def caption(self, caption: str) -> Tokenized:
        """Tokenize an unchanged caption. Raises InputError if it is empty or longer than the model takes."""
        return self.bundle.tokenizer.encode(caption, self.bundle.manifest.max_words)

    def tokens(self, caption: str) -> list[int]:
        """Token numbers of an unchanged caption. Raises as `caption`."""
        return list(self.caption(caption).tokens)

    def read(self, query: str, *, unknown: bool = False) -> Tokenized:
        """Tokenize a query, without invisible marks: unknown words are tolerated, and it is cut at the model's limit.

        Raises InputError if it is empty or has no word that the model knows, unless they may all be `unknown`.
        """
        tokenized = self.bundle.tokenizer.read(visible_text(query), self.bundle.manifest.max_words)
        if not unknown and not tokenized.has_known_word:
            raise InputError(f"the model knows no word of '{shortened(query)}': describe it in other words")
        return tokenized

    def encode_captions(self, token_lists: Sequence[Sequence[int]]) -> Arrays:
        """Caption arrays by name, each C x its shape, padded to the longest caption."""
        tokens, lengths = pad(token_lists)
        return self.graph(TEXT_ENCODER).run({"tokens": tokens, "lengths": lengths})

    def encode_words(self, words: Sequence[Sequence[int]], name: str) -> NDArray[Any]:
        """One of the caption arrays of words alone, C x its shape. It is kept: every query has words of others."""
        keys = [(name, tuple(word)) for word in words]
        known = {key: held for key in keys if (held := self._words.get(key)) is not None}
        if new := [key for key in dict.fromkeys(keys) if key not in known]:
            known.update(zip(new, self.encode_captions([tokens for _, tokens in new])[name], strict=True))
            if len(self._words) + len(new) > KEPT_WORDS:
                self._words.clear()
            self._words.update({key: known[key] for key in new})
        return np.stack([known[key] for key in keys])
