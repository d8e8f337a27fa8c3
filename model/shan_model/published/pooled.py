"""What VSE∞'s and ESA's checkpoints have in common: the region encoder, and the two pools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from shan_model.pooled.rows import PooledModel
from shan_model.published.states import IMAGE, TEXT, States
from shan_model.published.text import rename_text

REGION_MLP = {"fc.": "image_encoder.fc.", "mlp.layers.": "image_encoder.layers.", "mlp.bns.0.": "image_encoder.norm."}
Pooled = TypeVar("Pooled", bound=PooledModel)


def fill_pooled(states: States, model: Pooled, image_pool: Mapping[str, str], text_pool: Mapping[str, str]) -> Pooled:
    """The model with the tensors of a checkpoint; the pools' names are as `States.rename` takes them."""
    states.leave(IMAGE, "mlp.bns.1.", "is not applied by the authors' code")
    states.rename(IMAGE, REGION_MLP)
    states.rename(IMAGE, image_pool)
    states.rename(TEXT, text_pool)
    rename_text(states)
    return states.fill(model)
