"""What machine this is, which back ends it can run, and what bounds its speed."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from data import Shape, captions_of, model_of, rows
from shan_engine.backends import load_graph
from shan_engine.backends.torch_cuda.device import usable_devices
from shan_engine.errors import BackendError
from shan_model.factorised import image_terms

DEMO = Path(__file__).parents[2] / "artifacts" / "demo" / "bundle"


def describe(device: torch.device) -> dict[str, Any]:
    found: dict[str, Any] = {"python": platform.python_version(), "cpus": os.cpu_count()}
    for package in ("torch", "triton", "onnxruntime", "onnxruntime-gpu", "tensorrt", "tensorrt-rtx"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    if device.type != "cuda":
        return {"name": "no GPU: Triton's interpreter on CPU", **found}
    properties = torch.cuda.get_device_properties(device)
    return {
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "devices": torch.cuda.device_count(),
        "cuda": torch.version.cuda,
        **found,
    }


def back_ends() -> dict[str, str]:
    """Each back end: `runs`, with the largest difference from the plain module, or why it cannot."""
    try:
        answers = {"torch": f"runs on {len(usable_devices('auto'))} device(s); see parity"}
    except BackendError as error:
        answers = {"torch": str(error)}
    for device in ("cpu", "cuda"):
        try:
            difference = _onnx_difference(device)
            answers[f"onnxruntime {device}"] = f"runs: at most {difference:.1e} from the plain module"
        except BackendError as error:
            answers[f"onnxruntime {device}"] = str(error)
    for package in ("tensorrt", "tensorrt_rtx"):
        try:
            __import__(package)
            answers[package] = "is installed; this check does not run it"
        except ImportError as error:
            answers[package] = f"cannot be imported: {error}"
    return answers


def _onnx_difference(device: str) -> float:
    """The demo's pair scorer (step 1) on random images and captions, beside the plain module."""
    graph = load_graph(DEMO / "pair_scorer.onnx", device)  # type: ignore[arg-type]
    D = next(shape[-1] for name, (_, shape) in graph.inputs.items() if name == "image_regions")
    shape = Shape(K=9, n=6, D=int(D or 0), steps=1, kept=0.7)
    model = model_of(shape)
    regions, mask = rows(5, shape.K, shape, 2)
    images = {name: term.numpy() for name, term in image_terms(model, regions, mask).items()}
    captions = captions_of(model, shape, 3)
    found = graph.run({**images, **captions}, ["scores"])["scores"]
    words, word_mask = (torch.from_numpy(captions[name]) for name in ("caption_words", "word_mask"))
    expected = [
        model(regions, mask, *(x[c].expand(5, *x[c].shape) for x in (words, word_mask))).sum(-1) for c in range(3)
    ]
    return float(np.abs(found - torch.stack(expected, 1).numpy()).max())


def median_seconds(work: Callable[[], object], repeats: int = 7) -> float:
    """Of some runs after two that warm up; the device is idle before and after each."""
    times = []
    for _ in range(repeats + 2):
        _wait()
        began = time.perf_counter()
        work()
        _wait()
        times.append(time.perf_counter() - began)
    return statistics.median(times[2:])


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def bounds(device: torch.device) -> dict[str, float]:
    """Bytes a second of a copy (read and written) and operations a second of a product of float16 matrices."""
    cuda = device.type == "cuda"
    source = torch.ones(2**31 if cuda else 2**20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = median_seconds(lambda: target.copy_(source))
    size = 8192 if cuda else 128
    one, other = (torch.randn(size, size, device=device).to(torch.float16) for _ in range(2))
    product = median_seconds(lambda: one @ other)
    return {"copy_bytes_per_s": 2 * source.numel() / copy, "matrix_operations_per_s": 2 * size**3 / product}
