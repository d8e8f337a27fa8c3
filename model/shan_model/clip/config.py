"""Sizes of CLIP's or SigLIP's text encoder, and of SHAN over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from shan_engine.base.errors import InputError

from shan_model.config import AlignedConfig, Settings, is_number

ACTIVATIONS = ("quick_gelu", "gelu", "gelu_pytorch_tanh")


@dataclass(frozen=True, kw_only=True)
class ClipTextConfig(Settings):
    """State, layers, heads, hidden layer inside a layer, places of a text, activation, epsilon of the layer norms.

    With `padding` 0 or above, texts are padded to all places with that token, which is seen, and each token sees all
    others (SigLIP). Otherwise each sees those before it (CLIP). `before` and `after` are how many markers are around a
    text. With `bias`, the projection has one.
    """

    owner: ClassVar[str] = "the text encoder's"
    dim: int
    layers: int
    heads: int
    hidden: int
    positions: int
    activation: str
    epsilon: float
    padding: int = -1
    before: int
    after: int
    bias: bool = False

    def __post_init__(self) -> None:
        self.demand_counts("dim", "layers", "heads", "hidden", "positions")
        self.demand_positive("epsilon")
        self.demand_one_of("activation", ACTIVATIONS)
        if self.dim % self.heads:
            raise InputError(f"the text encoder's heads are {self.heads}: they must divide its dim {self.dim}")


@dataclass(frozen=True, kw_only=True)
class ClipShanConfig(AlignedConfig):
    """`adapter` is the size of the hidden layer that each side's adapter has; 0 for no adapters.

    `feature_dim` is `embed_dim`: features are in the joint space already. `source` says what the encoders are.
    """

    model: ClassVar[str] = "clip-shan"
    source: str
    text: ClipTextConfig
    adapter: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        self.demand(["adapter"], lambda value: is_number(value, int) and value >= 0, "a whole number, at least 0")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """See `ModelConfig.from_dict`."""
        return super().from_dict({**data, "text": ClipTextConfig(**data.get("text", {}))})
