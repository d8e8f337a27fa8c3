"""What machine this is, which back ends it can run, and what bounds its speed."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import graphs
import torch
from shan_engine.backends.torch_cuda.available import usable_devices
from shan_engine.base.errors import BackendError


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


def back_ends() -> dict[str, dict[str, Any]]:
    """By back end: whether it runs, and how near the plain module it is or why it does not; `torch` has `parity`."""
    try:
        usable_devices("auto")
        torch_runs: dict[str, Any] = {"runs": True}
    except BackendError as error:
        torch_runs = {"runs": False, "reason": str(error)}
    return {"torch": torch_runs, **graphs.check()}


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
