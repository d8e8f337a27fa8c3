"""The models by the name that a checkpoint's config.json gives them.

A new model is a module, an export wrapper if its text encoder needs one, and a `Registration`. `MODELS` lists the
models of this package. Another package names its registration in its pyproject.toml:

    [project.entry-points."shan_engine.models"]
    my_model = "my_package.my_model:registration"
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from shan_engine.base.errors import InputError

from shan_model.config import GruConfig
from shan_model.global_models import Tern, Vse
from shan_model.retrieval import RetrievalModel
from shan_model.scan import Scan
from shan_model.sentence_shan import SentenceShan
from shan_model.shan import Shan

ENTRY_POINTS = "shan_engine.models"
OF_SENTENCES = frozenset({"refined", "channels", "hidden", "classes", "nodes", "names", "lemmas", "depth"})
SIZES = frozenset(field.name for field in fields(GruConfig)) | OF_SENTENCES


@dataclass(frozen=True)
class Registration:
    """A model's class, and the class that wraps its text encoder for export, as "module:class".

    The wrapper is called with the model. It is a module from tokens C x n and lengths C to the model's caption terms.
    The default calls the text encoder as it is.
    """

    model: type[RetrievalModel]
    text_graph: str = "shan_export.wrappers:TextEncoderGraph"


MODELS = {
    model.Config.model: Registration(model, text_graph="shan_export.gru:GruTextEncoderGraph")
    for model in (Shan, Scan, Vse, Tern)
} | {
    SentenceShan.Config.model: Registration(
        SentenceShan, text_graph="shan_export.sentence_shan:SentenceTextEncoderGraph"
    )
}


def find_registration(name: object) -> Registration:
    """The model of that name, of this package or from an entry point. Raises InputError if there is none."""
    if name in MODELS:
        return MODELS[str(name)]
    found = _entry_points()
    if name not in found:
        raise InputError(f"the model is {name!r}: it must be one of {', '.join([*MODELS, *sorted(found)])}")
    point = found[str(name)]
    try:
        registration = point.load()
    except Exception as error:
        raise InputError(
            f"the model {name} cannot be loaded from {point.value} ({error}): fix or remove the package that "
            "registers it"
        ) from error
    if not isinstance(registration, Registration) or registration.model.Config.model != name:
        raise InputError(
            f"{point.value} is not a Registration of a model named {name}: fix the package's entry point in the group "
            f"{ENTRY_POINTS}"
        )
    return registration


def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def new_model(name: str, options: Mapping[str, Any], **sizes: int) -> RetrievalModel:
    """A fresh model of these sizes, of which it takes those that it has, and with options of its own.

    Raises InputError for an option that it does not have.
    """
    model = find_registration(name).model
    names = {field.name for field in fields(model.Config)}
    for option in options:
        if option not in names - SIZES:
            raise InputError(
                f"the model {name} has no {option}: its own settings are {', '.join(sorted(names - SIZES)) or 'none'}"
            )
    config = model.Config(**{size: value for size, value in sizes.items() if size in names}, **options)
    return model(config)
