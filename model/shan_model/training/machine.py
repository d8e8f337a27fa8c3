"""The device, precision and memory that training uses."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from shan_engine.base.errors import ShanError
from shan_engine.base.threads import usable_cpus


def choose_device(name: str) -> torch.device:
    """The device of that name; `auto` is a GPU if PyTorch finds one. Raises ShanError if `cuda` is missing."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ShanError("PyTorch finds no CUDA device here: use --device cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def keep_to_quota() -> None:
    """Let PyTorch use no more threads than there are CPUs to use: it does not look at a container's quota."""
    torch.set_num_threads(min(torch.get_num_threads(), usable_cpus()))


def choose_precision(name: str, device: torch.device) -> str:
    """The precision of that name; `auto` depends on the device."""
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
def explain_memory_errors(batch_size: int) -> Iterator[None]:
    """Turn out-of-memory errors of the system and of PyTorch into a ShanError that says what to do."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # on a CPU, PyTorch raises a plain RuntimeError
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise ShanError(
            f"there is not enough memory for batches of {batch_size} images: lower --batch-size (with --restart "
            "if a run was begun) or --dev-images"
        ) from error
