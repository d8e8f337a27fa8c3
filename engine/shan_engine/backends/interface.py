"""What a back end is: graphs that it runs, and a scorer of pairs.

Runtime      one back end, opened for a bundle: loads the bundle's graphs and gives their pair scorer
Graph        a loaded graph with named inputs and outputs
PairScorer   scores of images with captions, by whatever computes them
HeldGallery  images that a back end keeps where it scores them
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.choices import Device, Precision
from shan_engine.base.errors import BackendError
from shan_engine.base.packing import Arrays
from shan_engine.kernel.constants import ShanConstants

if TYPE_CHECKING:
    from shan_engine.bundle.contents import Bundle

Array = NDArray[Any]
Key = TypeVar("Key")
Call = tuple[Key, Mapping[str, Array], Mapping[str, Array]]
"""A key, images as `PairScorer.prepare` gives them, captions' arrays C x their shape."""
Complete = Callable[[Mapping[str, Array], Sequence[str] | None], Arrays]
"""Adds the image arrays that a gallery does not store and the bundle derives: all of them, or those named."""


@dataclass(frozen=True)
class Request:
    """What a back end is opened for; `constants` are None where the model is not SHAN's."""

    bundle: Bundle
    constants: ShanConstants | None
    device: Device = "auto"
    threads: int | None = None
    precision: Precision | None = None


class OutOfDeviceMemoryError(BackendError):
    """A call needs more memory than the device has; a smaller one may fit."""


class Graph(Protocol):
    """A loaded graph. `run` takes arrays by input name and gives the asked outputs as numpy arrays."""

    device: str

    @property
    def inputs(self) -> Mapping[str, tuple[np.dtype[Any], tuple[int | str | None, ...]]]:
        """Type and shape of every input, symbols where an axis may change."""
        ...

    @property
    def outputs(self) -> Sequence[str]:
        """Names of the outputs."""
        ...

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Outputs by name; all of them where `outputs` is None."""
        ...

    def begin(
        self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> Callable[[], dict[str, Array]]:
        """As `run`, but the function given waits for it; one more may be begun meanwhile."""
        ...


class Images(Protocol):
    """Images in order, as they are stored: K regions of D numbers each, of type `dtype`."""

    @property
    def regions(self) -> int:
        """K."""
        ...

    @property
    def dim(self) -> int:
        """D."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32, float16 or int8."""
        ...

    @property
    def normalised(self) -> bool:
        """Whether `read` gives hubness."""
        ...

    def __len__(self) -> int: ...

    def read(self, start: int, most: int) -> Mapping[str, Array]:
        """Up to `most` images from place `start` on, at least one.

        `regions` b x K x D in `dtype` (float32, float16 or int8), `mask` b x K (bool), for int8 `scales` b x K, where
        `normalised` `hubness` b (float32).
        """
        ...


class HeldGallery(Protocol):
    """Images where a back end scores them; captions come in batches of arrays, C x their shape."""

    def scores(self, batches: Sequence[Mapping[str, Array]]) -> Iterator[tuple[int, slice, NDArray[np.float32]]]:
        """Scores B x C of all images: for blocks of them in order and each batch, its number, their place, scores."""
        ...

    def top_k(
        self, batches: Sequence[Mapping[str, Array]], k: int
    ) -> list[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """Scores and places of the k best images (all, where there are fewer) for each batch, C x k, best first.

        Ties go to the lower place. A NaN score comes first.
        """
        ...


class PairScorer(Protocol):
    """Scores of B images with C captions.

    `name` says who scores, for results that record it; `device` is `cpu` or `cuda`. `concurrent` says whether several
    threads may call it at once.
    """

    name: str
    device: str
    concurrent: bool

    def prepare(self, stored: Mapping[str, Array]) -> Arrays:
        """What `scores` reads of images, from their rows of a gallery's files; hubness among it, where stored."""
        ...

    def scores(self, calls: Iterable[Call[Key]], outputs: Sequence[str] = ("scores",)) -> Iterator[tuple[Key, Arrays]]:
        """Each call's `outputs` by name, in order: `scores` B x C, and where asked `step_scores` B x C x steps.

        Hubness is not taken from them.
        """
        ...

    def images_per_call(self, shapes: Mapping[str, tuple[int, ...]], captions: int, words: int) -> int:
        """How many images one call takes with that many captions of that many words; `shapes` are those per image."""
        ...

    def hold(self, images: Images) -> HeldGallery | None:
        """The images, kept where they are scored; None where the back end does not do that."""
        ...


class Runtime(Protocol):
    """A back end opened for a bundle."""

    def load(self, name: str) -> Graph:
        """A graph of the bundle by its file name."""
        ...

    def pair_scorer(self, graph: Callable[[str], Graph], complete: Complete) -> PairScorer:
        """Who scores pairs: `graph` gives the bundle's graphs, each loaded once, `complete` completes images."""
        ...
