"""What training asks of the machine: a device, a precision, and memory."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from shan_engine.base.errors import ShanError


def chosen_device(name: str) -> torch.device:
    """The device of that name; `auto` is a GPU where PyTorch finds one. Raises ShanError where `cuda` is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ShanError("PyTorch finds no CUDA device here: use --device cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def chosen_precision(name: str, device: torch.device) -> str:
    """What `auto` is on this device."""
    if name != "auto":
        return name
    return "bfloat16" if device.type == "cuda" or torch.cpu._is_avx512_bf16_supported() else "float32"


def keep_freed_memory() -> None:
    """Let glibc keep freed memory: returning it for every large tensor halves the speed on CPU (measured)."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            trim_threshold, mmap_threshold = -1, -3
            libc.mallopt(trim_threshold, 2**31 - 1)
            libc.mallopt(mmap_threshold, 2**25)


@contextmanager
def memory_errors_told(batch_size: int) -> Iterator[None]:
    """Turn the system's and PyTorch's errors for want of memory into a ShanError that says what to do."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # PyTorch has its own of the second kind, on a CPU without a name
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise ShanError(
            f"there is not enough memory for batches of {batch_size} images: lower --batch-size, with --restart where "
            "a run was begun, or --dev-images"
        ) from error
