"""What `torch.save` wrote, read as tensors and plain data."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch


def load_plain(path: Path) -> Any:
    """The content on the CPU. No code in it runs, and PyTorch's warnings about its pickle are not printed.

    Raises whatever PyTorch's parts raise for a damaged file.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)
