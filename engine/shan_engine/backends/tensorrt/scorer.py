"""TensorRT as a back end: a bundle's compiled plans run natively on one GPU."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from shan_engine.backends.graph_scorer import GraphPairScorer
from shan_engine.backends.interface import Complete, Graph, PairScorer, Request
from shan_engine.backends.tensorrt.graph import TensorRtPlans
from shan_engine.base.errors import BackendError

log = logging.getLogger(__name__)

MOST_IMAGES = 1024


class TensorRt:
    """See `backends.interface.Runtime`. The pair scorer's plan computes an image's other arrays itself."""

    def __init__(self, request: Request) -> None:
        if request.device == "cpu":
            raise BackendError("TensorRT runs only on NVIDIA GPUs: leave out --device cpu or --backend tensorrt")
        self._plans = TensorRtPlans(request.bundle, request.precision)
        log.info("graphs and pairs run in TensorRT from the plans %s", self._plans.plans.name)

    def load(self, name: str) -> Graph:
        """Load the plan of a graph."""
        return self._plans.load(Path(name).stem)

    def pair_scorer(self, graph: Callable[[str], Graph], complete: Complete) -> PairScorer:
        """A scorer that runs the plan of the pair scorer."""
        plans = self._plans.plans
        return GraphPairScorer(
            f"tensorrt {plans.precision}",
            lambda: graph("pair_scorer.onnx"),
            lambda images: images,
            device="cuda",
            concurrent=False,
            most_images=min(plans.limits.images, MOST_IMAGES),
        )
