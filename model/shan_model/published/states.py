"""The tensors of a published checkpoint on their way into a model: each used, left out with a reason, or refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from shan_engine.base.errors import InputError
from torch import Tensor

from shan_model.published.torch_file import TorchFile
from shan_model.retrieval import RetrievalModel

Model = TypeVar("Model", bound=RetrievalModel)
IMAGE, TEXT, PAIR = range(3)
"""Places of the state dicts in a file's `model`: image encoder, text encoder, what scores pairs."""
COUNTERS = "num_batches_tracked"


class States:
    """State dicts whose tensors are renamed into those of a model. `left_out` maps names to the reason."""

    def __init__(self, file: TorchFile) -> None:
        self.path, self.settings = file.path, file.settings
        self._held = [dict(state) for state in file.states]
        self._named: dict[str, tuple[str, Tensor]] = {}
        self._rules: list[tuple[int, str, str]] = []
        self.left_out: dict[str, str] = {}

    def __getitem__(self, key: tuple[int, str]) -> Tensor:
        """A tensor by place and name. Raises InputError where there is none."""
        place, name = key
        if place >= len(self._held) or name not in self._held[place]:
            raise InputError(f"{self.path} has no tensor {_shown(place, name)}: {self._fix}")
        return self._held[place][name]

    def has(self, place: int, prefix: str) -> bool:
        """Whether the state dict at that place has a name that begins so."""
        return place < len(self._held) and any(name.startswith(prefix) for name in self._held[place])

    def setting(self, name: str, usual: Any = None) -> Any:
        """A setting of the training. Raises InputError where the file has none and nothing is usual."""
        if name not in self.settings and usual is None:
            raise InputError(
                f"{self.path} does not say its {name} among the settings of its training ('opt'): {self._fix}"
            )
        return self.settings.get(name, usual)

    def demand_setting(self, name: str, *allowed: Any) -> None:
        """Raise InputError where a setting has another value than these; where it is missing, it is the first."""
        held = self.settings.get(name, allowed[0])
        if held not in allowed:
            wanted = " or ".join(map(str, allowed))
            raise InputError(
                f"{self.path} was trained with {name} {held}: only {wanted} can be imported, so give another checkpoint"
            )

    def rename(self, place: int, rules: Mapping[str, str]) -> None:
        """Take the tensors whose names begin with a key; that part of the name becomes the value."""
        for old, new in rules.items():
            self._rules.append((place, old, new))
            for name in [name for name in self._held[place] if name.startswith(old)]:
                if name.endswith(COUNTERS):
                    self._leave(place, name, "counts training steps")
                else:
                    self._named[new + name.removeprefix(old)] = _shown(place, name), self._held[place].pop(name)

    def join(self, place: int, names: Sequence[str], new: str) -> None:
        """Take tensors that are one below another in the model. Raises InputError where one is missing."""
        parts = [self[place, name] for name in names]
        for name in names:
            del self._held[place][name]
        self._named[new] = _shown(place, names[0]), torch.cat(parts)

    def leave(self, place: int, prefix: str, reason: str) -> None:
        """Leave out the tensors whose names begin so; `reason` completes a sentence about them."""
        for name in [name for name in self._held[place] if name.startswith(prefix)]:
            self._leave(place, name, reason)

    def _leave(self, place: int, name: str, reason: str) -> None:
        del self._held[place][name]
        self.left_out[_shown(place, name)] = reason

    def fill(self, model: Model) -> Model:
        """The model with these tensors as float32. Raises InputError naming one that is missing, extra or of a wrong
        shape, or that is not finite."""
        unknown = [_shown(place, name) for place, state in enumerate(self._held) for name in state]
        if unknown:
            more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
            raise InputError(f"{self.path} has an unknown tensor {unknown[0]}{more}: {self._fix}")
        state = model.state_dict()
        for name, empty in state.items():
            if name not in self._named:
                if empty.numel():
                    raise InputError(f"{self.path} has no tensor {self._published(name)}: {self._fix}")
                continue
            shown, tensor = self._named.pop(name)
            if tensor.shape != empty.shape:
                raise InputError(
                    f"{self.path}: {shown} has shape {list(tensor.shape)}, not {list(empty.shape)}: {self._fix}"
                )
            if not bool(torch.isfinite(tensor).all()):
                raise InputError(f"{self.path}: {shown} has NaN or infinite values: download or train it again")
            state[name] = tensor.to(empty.dtype)
        for shown, _ in self._named.values():
            raise InputError(f"{self.path} has an unknown tensor {shown}: {self._fix}")
        model.load_state_dict(state)
        return model.eval().requires_grad_(False)

    def _published(self, name: str) -> str:
        """The published name of a model's tensor."""
        for place, old, new in self._rules:
            if name.startswith(new):
                return _shown(place, old + name.removeprefix(new))
        return name

    @property
    def _fix(self) -> str:
        return "give --kind the kind of model that it is of, and a file as its authors' code writes it"


def _shown(place: int, name: str) -> str:
    """A tensor's name in messages, with its place in the file's `model`."""
    return f"model[{place}].{name}"
