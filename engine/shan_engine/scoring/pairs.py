"""Many calls of images by captions, by whoever scores the pairs: the compiled kernel, a graph, or CUDA through PyTorch.

Each gives the calls' outputs in order, by name: `scores` B x C and, where it is asked for, `step_scores` B x C x steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from shan_engine.backends import Graph, HeldGallery
from shan_engine.backends.tensorrt.memory import OutOfDeviceMemoryError
from shan_engine.base.choices import Device
from shan_engine.kernel.shan import Kernel, ShanConstants

Terms = Mapping[str, NDArray[Any]]
Outputs = dict[str, NDArray[Any]]
Key = TypeVar("Key")
Call = tuple[Key, Terms, Terms]
"""A key, images' arrays as of `Scorer.for_pairs`, captions' arrays."""


def kernel_calls(kernel: Kernel, calls: Iterable[Call[Key]], outputs: Sequence[str]) -> Iterator[tuple[Key, Outputs]]:
    """One call after another, each on all of the kernel's threads."""
    for key, images, captions in calls:
        if "step_scores" in outputs:
            steps = kernel.step_scores(images, captions)
            yield key, {"scores": steps.sum(-1), "step_scores": steps}
        else:
            yield key, {"scores": kernel.score(images, captions)}


def graph_calls(graph: Graph, calls: Iterable[Call[Key]], outputs: Sequence[str]) -> Iterator[tuple[Key, Outputs]]:
    """A GPU gets the next call before one is done; a call that its memory does not hold is made in parts."""
    waiting: tuple[Key, Callable[[], Outputs]] | None = None
    for key, images, captions in calls:
        try:
            begun = key, graph.begin({**images, **captions}, outputs)
        except OutOfDeviceMemoryError:
            if waiting:
                yield waiting[0], waiting[1]()
            waiting = None
            yield key, _in_halves(graph, images, captions, outputs)
            continue
        if waiting:
            yield waiting[0], waiting[1]()
        waiting = begun
    if waiting:
        yield waiting[0], waiting[1]()


def _in_halves(graph: Graph, images: Terms, captions: Terms, outputs: Sequence[str]) -> Outputs:
    count = len(next(iter(images.values())))
    if count == 1:
        return graph.run({**images, **captions}, outputs)
    parts = (slice(count // 2), slice(count // 2, None))
    calls = ((None, {name: array[part] for name, array in images.items()}, captions) for part in parts)
    found = [results for _, results in graph_calls(graph, calls, outputs)]
    return {name: np.concatenate([results[name] for results in found]) for name in outputs}


def torch_calls(
    device: Device, constants: ShanConstants, calls: Iterable[Call[Key]], outputs: Sequence[str]
) -> Iterator[tuple[Key, Outputs]]:
    """On CUDA devices; images that come in several calls, one after another, are sent there once."""
    from shan_engine.backends.torch_cuda.held import hold_images

    # The GPU's kernel gives a score alone: its parts are what each step adds.
    lengths = range(1, constants.steps + 1) if "step_scores" in outputs else [constants.steps]
    sent: Terms | None = None
    held: list[HeldGallery] = []
    for key, images, captions in calls:
        if images is not sent:
            held = []  # frees the memory first
            held = [hold_images(images, replace(constants, steps=steps), device) for steps in lengths]
            sent = images
        totals = [np.concatenate([scores for _, _, scores in one.scores([captions])]) for one in held]
        found = {"scores": totals[-1]}
        if "step_scores" in outputs:
            found["step_scores"] = np.diff(np.stack(totals, axis=-1), axis=-1, prepend=np.float32(0))
        yield key, found
