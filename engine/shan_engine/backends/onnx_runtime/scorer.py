"""ONNX Runtime as a back end, alone or with its TensorRT provider; on the CPU the compiled kernel scores pairs."""

from __future__ import annotations

import logging
from collections.abc import Callable

from shan_engine.backends.compiled.scorer import open_kernel_scorer
from shan_engine.backends.graph_scorer import GraphPairScorer
from shan_engine.backends.interface import Complete, Graph, PairScorer, Request
from shan_engine.backends.onnx_runtime.graph import OnnxRuntimeGraph, runs_on_cpu
from shan_engine.base.errors import BackendError
from shan_engine.bundle.manifest import TEXT_ENCODER
from shan_engine.bundle.plans import ENGINES

log = logging.getLogger(__name__)


class OnnxRuntime:
    """See `backends.interface.Runtime`."""

    label = "onnxruntime"
    through_tensorrt = False

    def __init__(self, request: Request) -> None:
        self._request = request
        self._engines = request.bundle.path / ENGINES / "onnxruntime" if self.through_tensorrt else None

    def load(self, name: str) -> Graph:
        """A graph of the bundle, on the device that was asked for."""
        path, request = self._request.bundle.path / name, self._request
        return OnnxRuntimeGraph(path, request.device, threads=request.threads, engines=self._engines)

    def pair_scorer(self, graph: Callable[[str], Graph], complete: Complete) -> PairScorer:
        """The compiled kernel where graphs run on the CPU and it can score the model, else the bundle's graph.

        A graph is loaded only where a GPU may run it: whether it does is known afterwards.
        """
        cpu_only = self._engines is None and runs_on_cpu(self._request.device)
        device = "cpu" if cpu_only else graph(TEXT_ENCODER).device
        name = f"{self.label} {device}"
        if device == "cpu":
            kernel = open_kernel_scorer(self._request, name, complete)
            if kernel:
                return kernel
        log.info("pairs are scored by the bundle's graph in ONNX Runtime on %s", device)
        return GraphPairScorer(
            name, lambda: graph("pair_scorer.onnx"), lambda images: complete(images, None), device=device
        )


class OnnxRuntimeTensorRt(OnnxRuntime):
    """ONNX Runtime with its TensorRT provider, which keeps in the bundle what it compiles."""

    label = "onnxruntime-tensorrt"
    through_tensorrt = True

    def __init__(self, request: Request) -> None:
        if request.device == "cpu":
            raise BackendError(
                "TensorRT runs only on NVIDIA GPUs: leave out --device cpu or --backend onnxruntime-tensorrt"
            )
        super().__init__(request)
