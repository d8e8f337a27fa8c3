"""Where a score is computed: captions and images through a bundle's graphs.

A score needs the image arrays (from a gallery), the caption arrays (from the text encoder) and the pair
scorer, which takes a batch of images by a batch of captions: the compiled kernel, or a graph.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.backends import Graph, HeldGallery, load_graph
from shan_engine.backends.tensorrt.graph import TensorRtPlans
from shan_engine.base.choices import Backend, Device, Precision
from shan_engine.base.errors import BackendError, BundleError, InputError
from shan_engine.bundle.contents import IMAGE_TERMS, KERNEL_CONSTANTS, Bundle
from shan_engine.bundle.plans import ENGINES
from shan_engine.gallery.reader import Gallery
from shan_engine.gallery.storage import HUBNESS
from shan_engine.kernel.shan import Kernel, ShanConstants, load_kernel
from shan_engine.scoring.pairs import Call, Key, graph_calls, kernel_calls, torch_calls
from shan_engine.text.tokenizer import Tokenized, pad, shortened

Arrays = dict[str, NDArray[Any]]
# Floats of intermediate results that one call of the pair scorer may need: what a core's caches hold
# decides the speed, so this is far below what memory allows (benchmarks/batching.py).
CALL_FLOATS = 4_000_000
# The kernel lays captions out anew in each call: many images share that.
KERNEL_IMAGES = 128
MOST_IMAGES = 1024  # of any call but the torch back end's, which ranks by itself
# A GPU wants many; there is more than this on its way where a gallery is held there.
TORCH_IMAGES = 4096


class Scorer:
    """A bundle's graphs on one device, loaded when first needed.

    `backend` is who runs them: ONNX Runtime, alone or with its TensorRT provider, or TensorRT itself from the bundle's
    plans of a `precision`. With `torch` a whole gallery is held and scored on CUDA devices (`held`), and the graphs,
    which then see only captions and hits, run on CPU; `auto` is `torch` where device is `cuda` and PyTorch and Triton
    can use it. Raises BackendError where the back end cannot run here, BundleError where it cannot score the model.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: Device = "auto",
        *,
        threads: int | None = None,
        backend: Backend = "onnxruntime",
        precision: Precision | None = None,
    ) -> None:
        self.bundle = bundle
        self.choice = device, backend, precision
        self._on_torch = device if _is_torch(backend, device, bundle) else None
        self._device: Device = "cpu" if self._on_torch else device
        self._threads = threads
        if backend != "tensorrt" and precision:
            raise BackendError(f"only TensorRT's plans have a precision ({precision}): add --backend tensorrt")
        if backend.endswith("tensorrt") and device == "cpu":
            raise BackendError(f"TensorRT runs on NVIDIA GPUs: leave --device cpu out, or --backend {backend}")
        self._through_tensorrt = backend == "onnxruntime-tensorrt"
        self._plans = TensorRtPlans(bundle, precision) if backend == "tensorrt" else None
        self._held: tuple[Gallery, HeldGallery] | None = None

    @property
    def pairs_on(self) -> str:
        """Where pairs are scored, `cpu` or `cuda`."""
        return "cuda" if self._on_torch is not None else self.text_encoder.device

    @property
    def scored_by(self) -> str:
        """Who scores pairs, in a word: others' scores may differ in their last bits, or with the precision."""
        if self._on_torch is not None:
            return "torch"
        if self._plans:
            return f"tensorrt {self._plans.plans.precision}"
        return f"onnxruntime{'-tensorrt' if self._through_tensorrt else ''} {self.pairs_on}"

    def held(self, gallery: Gallery) -> HeldGallery | None:
        """The gallery on the devices of the `torch` back end, kept until another is asked for; None without it."""
        if self._on_torch is None:
            return None
        if self._held is None or self._held[0] is not gallery:
            from shan_engine.scoring.stored_images import hold_gallery

            self._held = None  # frees the memory first
            self._held = gallery, hold_gallery(gallery, self._constants(), self._on_torch)
        return self._held[1]

    def _load(self, name: str) -> Graph:
        if self._plans:
            return self._plans.load(Path(name).stem)
        engines = self.bundle.path / ENGINES / "onnxruntime" if self._through_tensorrt else None
        return load_graph(self.bundle.path / name, self._device, threads=self._threads, engines=engines)

    @cached_property
    def image_encoder(self) -> Graph:
        """Features to what a gallery stores."""
        return self._load("image_encoder.onnx")

    @cached_property
    def image_terms(self) -> Graph | None:
        """What a gallery stores to the other image arrays; None where the pair scorer needs no others."""
        if self._plans or IMAGE_TERMS not in self.bundle.manifest.files:
            return None
        return self._load(IMAGE_TERMS)

    @cached_property
    def kernel(self) -> Kernel | None:
        """The compiled kernel; None where it is not built, cannot score this model, or pairs are scored elsewhere."""
        if KERNEL_CONSTANTS not in self.bundle.manifest.files or self._on_torch or self.text_encoder.device != "cpu":
            return None
        return load_kernel(self._constants(), threads=self._threads)

    @property
    def step_1_weights(self) -> tuple[float, float]:
        """a and b of the model's direction, as far as the bundle says them; else 1 and 1."""
        if KERNEL_CONSTANTS not in self.bundle.manifest.files:
            return 1.0, 1.0
        constants = self._constants()
        return constants.region_weight, constants.word_weight

    def _constants(self) -> ShanConstants:
        path = self.bundle.path / KERNEL_CONSTANTS
        try:
            with np.load(path, allow_pickle=False) as held:
                arrays = {name: held[name] for name in held.files}
            numbers = {name: array.item() for name, array in arrays.items() if array.ndim == 0}
            return ShanConstants(**{**arrays, **numbers})
        except (OSError, ValueError, TypeError) as error:
            raise BundleError(f"{path} is not what the kernel reads ({error}): export the bundle again") from error

    @cached_property
    def text_encoder(self) -> Graph:
        """Tokens to caption arrays."""
        return self._load("text_encoder.onnx")

    @cached_property
    def pair_scorer(self) -> Graph:
        """Images by captions to scores."""
        return self._load("pair_scorer.onnx")

    def encode_images(self, features: NDArray[np.float32], region_mask: NDArray[np.bool_]) -> Arrays:
        """What a gallery stores of features B x K x F and mask B x K, the mask among it, each B x its shape."""
        encoded = self.image_encoder.run({"features": features, "region_mask": region_mask})
        return {**encoded, "region_mask": region_mask}

    def complete(self, images: Mapping[str, NDArray[Any]]) -> Arrays:
        """All image arrays, from those that a gallery stores."""
        return {**images, **self.image_terms.run(images)} if self.image_terms else dict(images)

    def for_pairs(self, images: Mapping[str, NDArray[Any]]) -> Arrays:
        """What `score_pairs` reads of images, from those arrays that a gallery stores."""
        if self._on_torch is not None:
            return dict(images)
        if self.kernel is None or self.image_terms is None:
            return self.complete(images)
        wanted = self.kernel.image_terms
        return {**images, **self.image_terms.run(images, wanted)} if wanted else dict(images)

    def image_array_shapes(self, regions: int) -> dict[str, tuple[int, ...]]:
        """Shape per image of every array that a gallery stores, for images padded to `regions`."""
        dim = self.bundle.manifest.feature_dim
        probe = self.encode_images(np.ones((1, regions, dim), np.float32), np.ones((1, regions), np.bool_))
        return {name: array.shape[1:] for name, array in probe.items()}

    def tokens(self, caption: str) -> list[int]:
        """Token numbers of a caption as it is. Raises InputError where it is empty or longer than the model takes."""
        return list(self.bundle.tokenizer.encode(caption, self.bundle.manifest.max_words).tokens)

    def read(self, query: str) -> Tokenized:
        """A query, with tolerance for unknown words, cut where the model takes no more.

        Raises InputError where it is empty or has no word that the model knows.
        """
        tokenized = self.bundle.tokenizer.read(query, self.bundle.manifest.max_words)
        if not tokenized.has_known_word:
            raise InputError(f"the model knows no word of '{shortened(query)}': describe it in other words")
        return tokenized

    def encode_captions(self, token_lists: Sequence[Sequence[int]]) -> Arrays:
        """Caption arrays by name, each C x its shape, padded to the longest caption."""
        tokens, lengths = pad(token_lists)
        return self.text_encoder.run({"tokens": tokens, "lengths": lengths})

    def score_pairs(
        self, images: Mapping[str, NDArray[Any]], captions: Mapping[str, NDArray[Any]]
    ) -> NDArray[np.float32]:
        """Scores B x C of every image (its arrays as of `for_pairs`) with every caption."""
        ((_, found),) = self.score_calls([(None, images, captions)])
        return found["scores"]

    @property
    def steps(self) -> tuple[str, ...]:
        """Names of the score's parts; none where the model has no parts."""
        return tuple(self.bundle.manifest.model.get("steps", ()))

    def score_calls(
        self,
        calls: Iterable[Call[Key]],
        outputs: Sequence[str] = ("scores",),
    ) -> Iterator[tuple[Key, Arrays]]:
        """Many calls, each with a key, its images and its captions: `outputs` by name, `scores` as of `score_pairs` and
        `step_scores` B x C x steps. In order; a GPU gets the next call before one is done.

        A score is the sum of its steps, less the image's hubness where the gallery has it.
        """
        for (key, hubness), found in self._raw_calls(
            (((key, images.get(HUBNESS)), images, captions) for key, images, captions in calls), outputs
        ):
            if hubness is not None and "scores" in found:
                found["scores"] = found["scores"] - hubness[:, None]
            yield key, found

    def _raw_calls(self, calls: Iterable[Call[Key]], outputs: Sequence[str]) -> Iterator[tuple[Key, Arrays]]:
        if self._on_torch is not None:
            return torch_calls(self._on_torch, self._constants(), calls, outputs)
        if self.kernel:
            return kernel_calls(self.kernel, calls, outputs)
        return graph_calls(self.pair_scorer, calls, outputs)

    def explain(self, images: Mapping[str, NDArray[Any]], captions: Mapping[str, NDArray[Any]]) -> Arrays:
        """All of the pair scorer's outputs, for complete images: `scores`, `step_scores`, perhaps `word_attention`."""
        return self.pair_scorer.run({**images, **captions})

    def images_per_call(self, gallery: Gallery, captions: int, words: int) -> int:
        """How many images one call takes with that many captions of that many words."""
        if self.kernel:
            return KERNEL_IMAGES
        if self._plans:
            return min(self._plans.plans.limits.images, MOST_IMAGES)
        if self._on_torch is not None:
            return TORCH_IMAGES
        per_image = max(math.prod(shape) for shape in gallery.manifest.arrays.values())
        regions = gallery.manifest.arrays.get("region_mask", (1,))[0]
        per_pair = 4 * per_image * (1 + words / regions)
        return max(1, min(256, int(CALL_FLOATS / (per_pair * captions))))


def _is_torch(backend: Backend, device: Device, bundle: Bundle) -> bool:
    if not (backend == "torch" or (backend == "auto" and device == "cuda")):
        return False
    from shan_engine.backends.torch_cuda.device import usable_devices

    try:
        usable_devices(device)
        if KERNEL_CONSTANTS not in bundle.manifest.files:
            raise BundleError(
                f"the torch back end scores SHAN alone, {bundle.path} is another model: leave --backend out"
            )
    except (BackendError, BundleError):
        if backend == "torch":
            raise
        return False  # ONNX Runtime has the last word
    return True
