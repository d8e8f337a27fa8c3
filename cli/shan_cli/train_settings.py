"""What the options of `shan-engine train` come to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shan_model.clip.pretrained import PretrainedText
    from shan_model.training.schedule import TrainConfig

CLIP_SHAN = "clip-shan"


def text_source(
    word_vectors: Path | None, sentence_model: Path | None, text_encoder: Path | None, clip: Path | None, model: str
) -> Path | PretrainedText:
    """What the model's text side starts from. Raises InputError unless exactly one is given, of its kind."""
    from shan_engine.base.errors import InputError

    given = [source for source in (word_vectors, sentence_model, text_encoder, clip) if source is not None]
    if len(given) != 1:
        raise InputError(
            "words need their vectors: give one of --word-vectors, --text-encoder, --from, and --sentence-model for "
            "sentence-shan"
        )
    if clip is not None:
        from shan_engine.base.optional import require

        if model != CLIP_SHAN:
            raise InputError(f"--from trains {CLIP_SHAN}: leave out --model {model}, or give word vectors")
        require("clip", "transformers")
        from shan_export.vision_language.text_side import pretrained_text

        return pretrained_text(clip)
    if word_vectors is not None and word_vectors.is_dir():
        raise InputError(f"{word_vectors} is a folder: give a file of word vectors, or a transformer by --text-encoder")
    if text_encoder is not None and not text_encoder.is_dir():
        raise InputError(f"{text_encoder} is not a folder: name the folder that holds the text encoder's config.json")
    return given[0]


def layers(text: str) -> int | str:
    """The value of --tuned-layers: a number, or whatever else it says."""
    return int(text) if text.isdecimal() else text


def train_config(of_training: dict[str, Any], of_model: dict[str, Any], settings: Sequence[str]) -> TrainConfig:
    """The configuration that the options and `--set` ask for. Raises InputError for a setting given twice."""
    from dataclasses import fields

    from shan_engine.base.errors import InputError
    from shan_model.training.schedule import TrainConfig

    with_option = set(of_training)
    further = {field.name for field in fields(TrainConfig)} - {*of_training, "options"}
    for text in settings:
        name, value = _setting(text)
        if name in with_option:
            raise InputError(f"{name} has an option of its own: write --{name.replace('_', '-')} {value}")
        chosen = of_training if name in further else of_model
        if chosen.get(name) is not None:
            raise InputError(f"{name} is given twice: leave out --set '{text}' or the other")
        chosen[name] = value
    options = {name: value for name, value in of_model.items() if value is not None}
    return TrainConfig(options=options, **of_training)


def _setting(text: str) -> tuple[str, object]:
    """Name and value of `NAME=VALUE`: a number or truth where it can be read as one."""
    from shan_engine.base.errors import InputError

    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise InputError(f"--set '{text}' is not a setting: write NAME=VALUE")
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            pass
    return name, {"true": True, "false": False}.get(value, value)
