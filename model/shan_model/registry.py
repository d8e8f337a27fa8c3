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

from shan_model.clip.shan import ClipShan
from shan_model.config import GruConfig
from shan_model.cross.chan import Chan
from shan_model.cross.chan_bert import ChanBert
from shan_model.cross.mlasm import Mlasm
from shan_model.cross.scan import Scan
from shan_model.cross.sgraf import Sgraf
from shan_model.pooled.bert import EsaBert, VseInfinityBert
from shan_model.pooled.esa import Esa
from shan_model.pooled.global_models import Tern, Vse
from shan_model.pooled.tern import TernBert
from shan_model.pooled.vse_infinity import VseInfinity
from shan_model.retrieval import RetrievalModel
from shan_model.sentence.shan import SentenceShan
from shan_model.shan.network import Shan

ENTRY_POINTS = "shan_engine.models"
OF_SENTENCES = frozenset({"refined", "channels", "hidden", "classes", "nodes", "names", "lemmas", "depth"})
SIZES = frozenset(field.name for field in fields(GruConfig)) | OF_SENTENCES | {"text"}


@dataclass(frozen=True)
class Registration:
    """A model's class, and the classes that wrap its encoders for export, as "module:class".

    A wrapper is called with the model. That of the text encoder is a module from tokens C x n and lengths C to the
    model's caption terms; that of the image encoder, from features B x K x F and region_mask B x K to what a gallery
    stores. The defaults call the encoders as they are.
    """

    model: type[RetrievalModel]
    text_graph: str = "shan_export.wrappers:TextEncoderGraph"
    image_graph: str = "shan_export.wrappers:ImageEncoderGraph"


_GRU = "shan_export.gru:text_graph"
_REGISTERED = (
    *(Registration(model, text_graph=_GRU) for model in (Shan, Scan, Vse, Tern)),
    Registration(SentenceShan, text_graph="shan_export.sentence_shan:SentenceTextEncoderGraph"),
    Registration(VseInfinity, text_graph="shan_export.gpo:text_graph", image_graph="shan_export.gpo:GpoImageGraph"),
    *(Registration(model, text_graph=_GRU) for model in (Esa, Sgraf, Chan, Mlasm)),
    Registration(
        VseInfinityBert, text_graph="shan_export.gpo:GpoBertGraph", image_graph="shan_export.gpo:GpoImageGraph"
    ),
    *(Registration(model) for model in (EsaBert, ChanBert, TernBert, ClipShan)),
)
MODELS = {registration.model.Config.model: registration for registration in _REGISTERED}


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


def registered_names() -> list[str]:
    """Every model's name: those of this package first."""
    return [*MODELS, *sorted(_entry_points().keys() - MODELS)]


def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def new_model(name: str, options: Mapping[str, Any], **sizes: Any) -> RetrievalModel:
    """A fresh model of these sizes, of which it takes those that it has, and with options of its own.

    Raises InputError for an option that it does not have.
    """
    model = find_registration(name).model
    if not model.text_sources:
        raise InputError(f"the model {name} cannot be trained here: import a checkpoint of it, or train another model")
    names = {field.name for field in fields(model.Config)}
    for option in options:
        if option not in names - SIZES:
            raise InputError(
                f"the model {name} has no {option}: its own settings are {', '.join(sorted(names - SIZES)) or 'none'}"
            )
    config = model.Config(**{size: value for size, value in sizes.items() if size in names}, **options)
    return model(config)
