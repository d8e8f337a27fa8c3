"""SHAN's configuration: the `config.json` of a checkpoint (SHAN.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from shan_engine.errors import InputError

STEPS = ("l2l", "g2l", "g2g")
DIRECTIONS = ("full", "i2t", "t2i")


@dataclass(frozen=True, kw_only=True)
class ShanConfig:
    """Sizes and variant of a SHAN model; raises InputError, naming the key, for a value it cannot have."""

    feature_dim: int
    vocab_size: int
    embed_dim: int = 256
    word_vector_dim: int = 100
    embedding_dim: int = 64
    temperature: float = 9.0
    direction: str = "full"
    steps: tuple[str, ...] = STEPS

    def __post_init__(self) -> None:
        for name in ("feature_dim", "vocab_size", "embed_dim", "word_vector_dim", "embedding_dim"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f"the model's {name} is {value!r}: it must be a whole number above 0")
        if not isinstance(self.temperature, int | float) or not self.temperature > 0:
            raise InputError(f"the model's temperature is {self.temperature!r}: it must be a number above 0")
        if self.direction not in DIRECTIONS:
            raise InputError(f"the model's direction is {self.direction!r}: it must be one of {', '.join(DIRECTIONS)}")
        if not self.steps or tuple(self.steps) != STEPS[: len(self.steps)]:
            raise InputError(
                f"the model's steps are {list(self.steps)}: they must begin {list(STEPS)} and may end early"
            )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ShanConfig:
        """From config.json's content; raises InputError for a missing or unknown key."""
        known = {field.name for field in fields(cls)}
        values = dict(data)
        if values.pop("model", None) != "shan":
            raise InputError(f"the configuration's model is {data.get('model')!r}, not 'shan'")
        for name in sorted(known - set(values)):
            raise InputError(f"the configuration has no {name}")
        for name in sorted(set(values) - known):
            raise InputError(f"the configuration has an unknown key {name}")
        return cls(**{**values, "steps": tuple(values["steps"])})

    def to_dict(self) -> dict[str, Any]:
        """config.json's content."""
        return {"model": "shan", **asdict(self), "steps": list(self.steps)}
