"""The models by the name that a checkpoint's config.json gives them. A new model is a file here and a line below."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from shan_engine.base.errors import InputError

from shan_model.config import ModelConfig
from shan_model.global_models import Tern, Vse
from shan_model.retrieval import RetrievalModel
from shan_model.scan import Scan
from shan_model.shan import Shan

MODELS: dict[str, type[RetrievalModel]] = {model.Config.model: model for model in (Shan, Scan, Vse, Tern)}
SIZES = frozenset(field.name for field in fields(ModelConfig))


def model_class(name: object) -> type[RetrievalModel]:
    """The model of that name. Raises InputError where there is none."""
    if name not in MODELS:
        raise InputError(f"the model is {name!r}: it must be one of {', '.join(MODELS)}")
    return MODELS[str(name)]


def new_model(name: str, options: Mapping[str, Any], **sizes: int) -> RetrievalModel:
    """A fresh model with options of its own beside the sizes. Raises InputError for an option that it does not have."""
    model = model_class(name)
    own = {field.name for field in fields(model.Config)} - SIZES
    for option in options:
        if option not in own:
            raise InputError(
                f"the model {name} has no {option}: its own settings are {', '.join(sorted(own)) or 'none'}"
            )
    return model(model.Config(**sizes, **options))
