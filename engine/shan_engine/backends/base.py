"""The interface of a back end: a graph with named inputs and outputs on one device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Device = Literal["auto", "cpu", "cuda"]
Backend = Literal["auto", "onnxruntime", "onnxruntime-tensorrt", "tensorrt"]


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


def load_graph(
    path: Path, device: Device = "auto", *, threads: int | None = None, engines: Path | None = None
) -> Graph:
    """Load an ONNX file in ONNX Runtime on `device`; with `engines` through its TensorRT provider, which keeps there
    what it compiles.

    Raises BackendError where the device or its library is missing.
    """
    from .onnx_runtime import OnnxRuntimeGraph

    return OnnxRuntimeGraph(path, device, threads=threads, engines=engines)
