"""Pairs scored by the compiled kernel."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence

from shan_engine.backends.compiled.available import unavailable
from shan_engine.backends.interface import Array, Call, Complete, HeldGallery, Images, Key, Request
from shan_engine.base.packing import Arrays, unpacked
from shan_engine.kernel.shan import Kernel, load_kernel

log = logging.getLogger(__name__)

# The kernel lays out captions again in each call, so each call takes many images. With few captions it takes more:
# for less work, starting a thread costs more than it saves.
LEAST_IMAGES = 128
PAIRS, PAIRS_OF_ALL_STEPS = 4096, 512


class KernelPairScorer:
    """See `backends.interface.PairScorer`. `kernel` also scores step 1 alone, which the cascade uses."""

    device = "cpu"
    concurrent = True

    def __init__(self, kernel: Kernel, name: str, complete: Complete) -> None:
        self.kernel, self.name, self._complete = kernel, name, complete

    def prepare(self, stored: Mapping[str, Array]) -> Arrays:
        """Step 1 alone is scored from the stored numbers; later steps need gate terms, made again from floats."""
        if self.kernel.constants.steps == 1:
            return dict(stored)
        return self._complete(unpacked(stored), self.kernel.image_terms)

    def scores(self, calls: Iterable[Call[Key]], outputs: Sequence[str] = ("scores",)) -> Iterator[tuple[Key, Arrays]]:
        """One call after another, each on all of the kernel's threads."""
        for key, images, captions in calls:
            steps = self.kernel.step_scores(images, captions)
            found = {"scores": steps.sum(-1)}
            yield key, found | ({"step_scores": steps} if "step_scores" in outputs else {})

    def images_per_call(self, shapes: Mapping[str, tuple[int, ...]], captions: int, words: int) -> int:
        """At least 128, and more where there are few captions."""
        pairs = PAIRS if self.kernel.constants.steps == 1 else PAIRS_OF_ALL_STEPS
        return max(LEAST_IMAGES, pairs // captions)

    def hold(self, images: Images) -> HeldGallery | None:
        """None: images come with each call."""
        return None


def open_kernel_scorer(request: Request, name: str, complete: Complete) -> KernelPairScorer | None:
    """The kernel as a pair scorer; None where it is not there or cannot score the model, and the log says why."""
    if request.constants is None:
        log.info("the compiled kernel scores SHAN alone, %s is another model", request.bundle.path)
        return None
    reason = unavailable()
    kernel = None if reason else load_kernel(request.constants, threads=request.threads)
    if kernel is None:
        log.info("the compiled kernel is not used: %s", reason)
        return None
    log.info("pairs are scored by the compiled kernel (%s) on %d threads", kernel.variant, kernel.threads)
    return KernelPairScorer(kernel, name, complete)
