"""The interface of a back end: a graph with named inputs and outputs on one device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.choices import Device

Array = NDArray[Any]


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


class HeldGallery(Protocol):
    """A gallery's images where a back end scores them; captions come in batches of arrays, C x their shape."""

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


def load_graph(
    path: Path, device: Device = "auto", *, threads: int | None = None, engines: Path | None = None
) -> Graph:
    """Load an ONNX file in ONNX Runtime on `device`; with `engines` through its TensorRT provider, which keeps there
    what it compiles.

    Raises BackendError where the device or its library is missing.
    """
    from shan_engine.backends.onnx_runtime.graph import OnnxRuntimeGraph

    return OnnxRuntimeGraph(path, device, threads=threads, engines=engines)
