"""Read what `torch.save` wrote in training code: tensors and settings, and nothing that runs.

A pickle may name any function. PyTorch's restricted reader refuses all but tensors and plain data. Training code adds
two kinds of plain data: `argparse.Namespace`, and NumPy's scalars.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from shan_engine.base.errors import InputError
from torch import Tensor

from shan_model.torch_files import load_plain

_NUMPY_SCALARS: list[Any] = [
    np.float64().__reduce__()[0],
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8")),
]
_NAMED = re.compile(r"(?:GLOBAL|unrecognized function) (\S+)")  # in PyTorch's message
_FIX = "give the model_best.pth.tar of the authors' training code"


@dataclass(frozen=True)
class TorchFile:
    """State dicts, in the order of the file's `model`, and the settings of its training (empty where it has none)."""

    path: Path
    states: tuple[dict[str, Tensor], ...]
    settings: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> TorchFile:
        """Raises InputError for a missing or damaged file, for one that names code, and for one without a `model`."""
        held = _load(path)
        if not isinstance(held, Mapping) or "model" not in held:
            raise InputError(f"{path} has no 'model': {_FIX}")
        model = held["model"]
        states = tuple(model) if isinstance(model, list | tuple) else (model,)
        if not states or not all(map(_is_state, states)):
            raise InputError(f"the 'model' of {path} is not one state dict, or a list of them: {_FIX}")
        settings = held.get("opt")
        if isinstance(settings, argparse.Namespace):
            settings = vars(settings)
        return cls(path, tuple(map(_plain, states)), dict(settings) if isinstance(settings, Mapping) else {})


def _load(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals([argparse.Namespace, *_NUMPY_SCALARS]):
            return load_plain(path)
    except FileNotFoundError as error:
        raise InputError(f"there is no checkpoint {path}: {_FIX}") from error
    except (PermissionError, IsADirectoryError) as error:
        raise InputError(f"the checkpoint {path} cannot be read ({error.strerror}): {_FIX}") from error
    except Exception as error:  # torch.load raises whatever its parts do; of a cut file, an OSError
        named = _NAMED.search(str(error))
        if named:
            raise InputError(
                f"{path} names {named[1]}, which a checkpoint does not need, so it is not read: {_FIX}, from its source"
            ) from error
        raise InputError(f"{path} is damaged, or not a file of torch.save: {_FIX}") from error


def _is_state(state: object) -> bool:
    return isinstance(state, Mapping) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in state.items()
    )


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without the `module.` of `DataParallel`."""
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}
