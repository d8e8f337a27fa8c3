"""What lies in a Hugging Face folder. A wrong one is told from a right one here, before anything large is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shan_engine.base.errors import InputError
from shan_engine.base.json_text import decode_json

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"))
PREPROCESSING = ("preprocessor_config.json", "processor_config.json")
KINDS = {"clip": "CLIP", "siglip": "SigLIP"}
NAFLEX = "siglip2"
OPEN_CLIP_CONFIG = "open_clip_config.json"
OPEN_CLIP_WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pt",
)


@dataclass(frozen=True)
class Folder:
    """A folder of a model with two encoders; `kind` is `clip`, `siglip` or `open_clip`."""

    path: Path
    kind: str

    @classmethod
    def open(cls, path: Path) -> Folder:
        """Look at the files. Raises InputError for a folder that is none, of another model, or lacks a file."""
        if (path / OPEN_CLIP_CONFIG).is_file() and not (path / "config.json").is_file():
            demand_file(path, *((name,) for name in OPEN_CLIP_WEIGHTS), what="weights")
            demand_file(path, TOKENIZERS[0], what="tokenizer")
            return cls(path, "open_clip")
        kind = model_type(path)
        if kind == NAFLEX:
            raise InputError(
                f"{path} holds a SigLIP 2 of variable resolution (NaFlex), whose patches are no fixed grid: give the "
                "SigLIP 2 of a fixed size, such as siglip2-base-patch16-224"
            )
        if kind not in KINDS:
            raise InputError(
                f"{path} holds a model of type '{kind}': --from takes {' and '.join(KINDS.values())}, which have an "
                "image and a text encoder in one space"
            )
        demand_file(path, *((name,) for name in WEIGHTS), what="weights")
        demand_file(path, *(TOKENIZERS if kind == "clip" else TOKENIZERS[:1]), what="tokenizer")
        demand_file(path, *((name,) for name in PREPROCESSING), what="settings of its image preprocessing")
        return cls(path, kind)


def model_type(path: Path) -> str:
    """The type that a folder's config.json names. Raises InputError where that cannot be read."""
    if not path.is_dir():
        raise InputError(f"{path} is not a folder: name the folder that holds the model's config.json")
    config = read_json(path / "config.json")
    kind = config.get("model_type")
    if not isinstance(kind, str):
        raise InputError(f"{path / 'config.json'} names no model_type: it is not the file of a Hugging Face model")
    return kind


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a file. Raises InputError where the file is missing or holds something else."""
    try:
        data = decode_json(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"{path.parent} has no {path.name}: name the whole folder of a model, as it was published"
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): copy it again") from error
    if not isinstance(data, dict):
        raise InputError(f"{path} is not a JSON object: copy it again")
    return data


def demand_file(path: Path, *choices: tuple[str, ...], what: str) -> None:
    """Raise InputError where the folder has none of these sets of files."""
    if not any(all((path / name).is_file() for name in names) for names in choices):
        wanted = " or ".join(" with ".join(names) for names in choices)
        raise InputError(f"{path} has no {what}: copy {wanted} of the same model into it")
