"""The back ends that run a bundle's graphs, each beside the plain module: ONNX Runtime, and TensorRT's plans.

The demo's pair scorer (step 1, which has no weights of its own) on random images and captions.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from data import Shape, captions_of, model_of, rows
from numpy.typing import NDArray
from shan_engine.backends.onnx_runtime.graph import OnnxRuntimeGraph
from shan_engine.base.errors import BackendError
from shan_model.shan.factorised import image_terms

DEMO = Path(__file__).parents[2] / "artifacts" / "demo" / "bundle"
IMAGES, CAPTIONS, D = 5, 3, 256
# The largest difference of a score, by precision; scores of step 1 lie between -2 and 2.
MOST = {"float32": 1e-4, "fp32": 1e-4, "fp16": 5e-3}
Run = Callable[[dict[str, NDArray[Any]]], NDArray[np.float32]]


def check() -> dict[str, dict[str, Any]]:
    """By back end: whether it runs; how far it is from the plain module and whether that is near enough, or why not."""
    ways: dict[str, tuple[str, Callable[[Path], Run]]] = {
        "onnxruntime cpu": ("float32", partial(_onnx, device="cpu")),
        "onnxruntime cuda": ("float32", partial(_onnx, device="cuda")),
        "onnxruntime-tensorrt": ("float32", _onnx_tensorrt),
    }
    for precision in ("fp32", "fp16"):
        ways[f"tensorrt {precision}"] = precision, partial(_plan, precision=precision)
    found: dict[str, dict[str, Any]] = {}
    for name, (precision, prepare) in ways.items():
        with tempfile.TemporaryDirectory() as folder:
            try:
                difference = _difference(prepare(Path(folder)))
                found[name] = {"runs": True, "difference": difference, "passed": difference <= MOST[precision]}
            except (BackendError, ImportError) as error:
                found[name] = {"runs": False, "reason": str(error)}
    return found


def _difference(run: Run) -> float:
    shape = Shape(K=9, n=6, D=D, steps=1, kept=0.7)
    model = model_of(shape)
    regions, mask = rows(IMAGES, shape.K, shape, 2)
    captions = captions_of(model, shape, CAPTIONS)
    images = {name: term.numpy() for name, term in image_terms(model, regions, mask).items()}
    found = run({**images, **captions})
    words, word_mask = (torch.from_numpy(captions[name]) for name in ("caption_words", "word_mask"))
    expected = [
        model(regions, mask, *(x[c].expand(IMAGES, *x[c].shape) for x in (words, word_mask))).sum(-1)
        for c in range(CAPTIONS)
    ]
    return float(np.abs(found - torch.stack(expected, 1).numpy()).max())


def _onnx(folder: Path, device: str) -> Run:
    graph = OnnxRuntimeGraph(DEMO / "pair_scorer.onnx", device)  # type: ignore[arg-type]
    return lambda inputs: graph.run(inputs, ["scores"])["scores"]


def _onnx_tensorrt(folder: Path) -> Run:
    graph = OnnxRuntimeGraph(DEMO / "pair_scorer.onnx", engines=folder)
    return lambda inputs: graph.run(inputs, ["scores"])["scores"]


def _plan(folder: Path, precision: Any) -> Run:
    """Compiled for the GPU that is here, and run."""
    from shan_engine.backends.tensorrt.graph import TensorRtPlans
    from shan_engine.bundle.contents import Bundle
    from shan_export.tensorrt.compile import compile_bundle

    bundle = Path(shutil.copytree(DEMO, folder / "bundle"))
    compile_bundle(bundle, precision=precision)
    plan = TensorRtPlans(Bundle.open(bundle), precision).load("pair_scorer")

    def run(inputs: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        # So often that both slots are used and the recorded graph is replayed.
        first, *others = [plan.run(inputs, ["scores"])["scores"] for _ in range(5)]
        if not all(np.array_equal(first, other) for other in others):
            raise BackendError("the same call gives other scores each time")
        return first

    return run
