"""A bundle opened for scoring: its encoders, its pair scorer, its further parts, and what explains a score."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.backends.compiled.scorer import KernelPairScorer
from shan_engine.backends.interface import HeldGallery, PairScorer, Request, Runtime
from shan_engine.backends.table import open_runtime
from shan_engine.base.choices import Backend, Device, Precision
from shan_engine.base.packing import Arrays
from shan_engine.bundle.contents import Bundle
from shan_engine.bundle.manifest import TEXT_ENCODER
from shan_engine.gallery.reader import Gallery
from shan_engine.gallery.written import Counting
from shan_engine.kernel.constants import load_constants
from shan_engine.kernel.shan import Kernel
from shan_engine.parts.table import open_parts
from shan_engine.parts.whole_gallery import GalleryParts
from shan_engine.parts.written import WEIGHT, Written, WrittenWords
from shan_engine.scoring.encoders import Encoders
from shan_engine.scoring.stored_images import StoredImages


class Scorer:
    """A bundle on one back end; graphs and pair scorer are loaded on first use and kept.

    `backend` is one of `backends.table.RUNTIMES`, or `auto`; `runtime` is an open back end. Raises BackendError if it
    cannot run here, BundleError if it cannot score the model.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: Device = "auto",
        *,
        threads: int | None = None,
        backend: Backend = "onnxruntime",
        precision: Precision | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        self.bundle, self.constants, self.parts = bundle, load_constants(bundle), open_parts(bundle)
        self.choice = device, backend, precision
        request = Request(bundle, self.constants, device, threads, precision)
        self._runtime = runtime or open_runtime(request, backend)
        self.encoders = Encoders(bundle, self._runtime.load, self.constants)
        self._held: tuple[Gallery, HeldGallery | None, GalleryParts] | None = None
        self._opening, self._begun = Lock(), False
        self._reads: list[tuple[str, str]] = []
        self._others: Sequence[Counting] = ()
        self._plain: Scorer | None = None

    @cached_property
    def pairs(self) -> PairScorer:
        """What scores pairs of images and captions."""
        with self._opening:
            return self.__dict__.get("pairs") or self._runtime.pair_scorer(self.encoders.graph, self.encoders.complete)

    def begin(self) -> None:
        """Begin to load what reads queries, in other threads; its first use raises what is wrong with it."""
        with self._opening:
            begun, self._begun = self._begun, True
        if begun:
            return
        pool = ThreadPoolExecutor(2)
        pool.submit(lambda: self.bundle.tokenizer)
        if self.pairs.concurrent:
            pool.submit(self.encoders.graph, TEXT_ENCODER)
        pool.shutdown(wait=False)

    @property
    def kernel(self) -> Kernel | None:
        """The compiled kernel, if it scores pairs; otherwise None."""
        return self.pairs.kernel if isinstance(self.pairs, KernelPairScorer) else None

    @property
    def steps(self) -> tuple[str, ...]:
        """Names of the steps of the model; empty if it has none."""
        return tuple(self.bundle.manifest.model.get("steps", ()))

    @property
    def score_parts(self) -> tuple[str, ...]:
        """Names of what a score is the sum of: the steps of the model, then the bundle's further parts."""
        return self.steps + self.parts.names

    def reading(self, galleries: Sequence[Gallery], others: Sequence[Counting] | None = None) -> Scorer:
        """What scores these galleries: this one, with another part where they know what is written in their photos.

        How rare words are is counted in `others`, too; None is those of this one, if it reads these galleries. Graphs
        and pair scorer are shared. Raises GalleryError where an index of written words is damaged.
        """
        of = [(str(gallery.path), gallery.manifest.written) for gallery in galleries]
        plain = self._plain or self
        if of == self._reads and others in (None, self._others):
            return self
        if not any(written for _, written in of) and not any(other.written for other in others or ()):
            return plain
        _ = plain.pairs  # opened once, for both
        own = copy(plain)
        words = WrittenWords(galleries, self.bundle.learnt_word, others=others or ())
        weight = self.bundle.manifest.parts.get(Written.name, {}).get("weight", WEIGHT)
        own.parts, own._reads, own._plain, own._held = plain.parts.and_also(Written(weight, words)), of, plain, None
        own._others = others or ()
        return own

    @property
    def written_words(self) -> WrittenWords | None:
        """What is written in the photos of the galleries of `reading`."""
        return next((part.words for part in self.parts if isinstance(part, Written)), None)

    def held(self, gallery: Gallery) -> HeldGallery | None:
        """The gallery on the back end's devices, kept until another is requested; None if the back end holds none."""
        held = self._held  # read once: other threads may ask for other galleries meanwhile
        if held is None or held[0] is not gallery:
            self._held = None  # frees the memory first
            held = self._held = gallery, self.pairs.hold(StoredImages(gallery)), GalleryParts(self.parts, gallery)
        return held[1]

    def held_parts(self, gallery: Gallery) -> GalleryParts:
        """The bundle's parts over a gallery that the back end holds, kept as long."""
        held = self._held
        return held[2] if held is not None and held[0] is gallery else GalleryParts(self.parts, gallery)

    def score_pairs(
        self, images: Mapping[str, NDArray[Any]], captions: Mapping[str, NDArray[Any]]
    ) -> NDArray[np.float32]:
        """Scores B x C of images, by the arrays that a gallery stores, with captions; hubness is not subtracted."""
        (scores,) = self.score_batches(images, [captions])
        return scores

    def score_batches(
        self, images: Mapping[str, NDArray[Any]], batches: Iterable[Mapping[str, NDArray[Any]]]
    ) -> Iterator[NDArray[np.float32]]:
        """As `score_pairs`, of the same images with batch after batch of captions."""
        prepared = self.pairs.prepare(images)
        for captions, found in self.pairs.scores((batch, prepared, batch) for batch in batches):
            if self.parts:
                found["scores"] = found["scores"] + self.parts.totals(images, captions, found["scores"].shape)
            yield found["scores"]

    def explain(self, images: Mapping[str, NDArray[Any]], captions: Mapping[str, NDArray[Any]]) -> Arrays:
        """All of the pair scorer graph's outputs for images by the arrays that a gallery stores, without further parts.

        `scores` B x C, `step_scores` B x C x steps if the model has steps, perhaps `word_attention` B x C x n x K.
        """
        graph = self.encoders.graph("pair_scorer.onnx")
        missing = [name for name in graph.inputs if name not in images and name not in captions]
        return graph.run({**self.encoders.complete(images, missing), **captions})
