"""PyTorch with Triton as a back end: pairs are scored on CUDA devices, graphs run on the CPU."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from shan_engine.backends.interface import (
    Array,
    Call,
    Complete,
    Graph,
    HeldGallery,
    Images,
    Key,
    PairScorer,
    Request,
)
from shan_engine.backends.onnx_runtime.graph import OnnxRuntimeGraph
from shan_engine.backends.torch_cuda.available import usable_devices
from shan_engine.backends.torch_cuda.held import hold, hold_images
from shan_engine.base.errors import BundleError
from shan_engine.base.packing import Arrays, unpacked
from shan_engine.kernel.constants import ShanConstants

log = logging.getLogger(__name__)

# A GPU needs many images in a call. This does not limit a gallery that is held there.
IMAGES_PER_CALL = 4096


class TorchCuda:
    """See `backends.interface.Runtime`. Graphs run on the CPU, because they see only captions and hits."""

    def __init__(self, request: Request) -> None:
        self._devices = usable_devices(request.device)
        if request.constants is None:
            raise BundleError(
                f"the torch back end scores only SHAN, but {request.bundle.path} is another model: leave out --backend"
            )
        self._request, self._constants = request, request.constants
        log.info("pairs are scored in PyTorch with Triton on %s", ", ".join(map(str, self._devices)))

    def load(self, name: str) -> Graph:
        """Load a graph of the bundle, on the CPU."""
        return OnnxRuntimeGraph(self._request.bundle.path / name, "cpu", threads=self._request.threads)

    def pair_scorer(self, graph: Callable[[str], Graph], complete: Complete) -> PairScorer:
        """A scorer that runs the Triton kernels."""
        return TorchPairScorer(self._constants, self._request.device)


class TorchPairScorer:
    """See `backends.interface.PairScorer`."""

    name, device = "torch", "cuda"
    concurrent = False

    def __init__(self, constants: ShanConstants, device: str) -> None:
        self._constants, self._device = constants, device

    def prepare(self, stored: Mapping[str, Array]) -> Arrays:
        """The stored arrays as float32 or bool. A GPU computes the others itself."""
        return unpacked(stored)

    def scores(self, calls: Iterable[Call[Key]], outputs: Sequence[str] = ("scores",)) -> Iterator[tuple[Key, Arrays]]:
        """The outputs of each call. Images that occur in several calls in a row are copied to the GPU once."""
        # The GPU's kernel gives only the full score. Scores of one, two and three steps give what each step adds.
        steps = self._constants.steps
        lengths = range(1, steps + 1) if "step_scores" in outputs else [steps]
        sent: Mapping[str, Array] | None = None
        held: list[HeldGallery] = []
        for key, images, captions in calls:
            if images is not sent:
                held = []  # frees the memory first
                held = [hold_images(images, replace(self._constants, steps=steps), self._device) for steps in lengths]
                sent = images
            totals = [np.concatenate([scores for _, _, scores in one.scores([captions])]) for one in held]
            found = {"scores": totals[-1]}
            if "step_scores" in outputs:
                found["step_scores"] = np.diff(np.stack(totals, axis=-1), axis=-1, prepend=np.float32(0))
            yield key, found

    def images_per_call(self, shapes: Mapping[str, tuple[int, ...]], captions: int, words: int) -> int:
        """Enough images to keep a GPU busy."""
        return IMAGES_PER_CALL

    def hold(self, images: Images) -> HeldGallery | None:
        """Hold the images on all devices of this machine."""
        return hold(images, self._constants, self._device)
