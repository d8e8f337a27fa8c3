"""A checkpoint folder: config.json, vocab.json or tokenizer.json, and model.safetensors (docs/files.md)."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from shan_engine.base.errors import InputError, first_line
from shan_engine.base.files import replacing
from shan_engine.base.json_text import decode_json
from shan_engine.text.tokenizer import Tokenizer
from shan_engine.text.tokenizer_files import TOKENIZERS, load_tokenizer, tokenizer_file
from shan_engine.text.vocabulary import Vocabulary
from torch import Tensor

from shan_model.registry import find_registration
from shan_model.retrieval import RetrievalModel

TENSORS = "model.safetensors"
SMALL = (torch.bool, torch.uint8, torch.int8, torch.int32, torch.float16)
FILES = (TENSORS, "config.json", *TOKENIZERS)
FIX = "copy the whole checkpoint again, or train it again"


def save_checkpoint(model: RetrievalModel, tokenizer: Tokenizer, folder: Path) -> None:
    """Write the three files, each under a temporary name that is then changed.

    Raises InputError if the disk is full. The tensors, by far the largest, are written before anything changes.
    """
    state = model.state_dict().items()
    tensors = {name: tensor.detach().cpu().to(stored_type(tensor)).contiguous() for name, tensor in state}
    with replacing(folder / TENSORS) as path:
        path.write_bytes(save(tensors))
        with replacing(folder / "config.json") as config:
            config.write_text(json.dumps(model.config.to_dict(), indent=2) + "\n", "utf-8")
        tokenizer.save(folder / tokenizer.file_name)


def stored_type(tensor: Tensor) -> torch.dtype:
    """The type of a model's tensor in a checkpoint: float32, unless the model has it smaller."""
    return tensor.dtype if tensor.dtype in SMALL else torch.float32


def refuse_checkpoint_alone(folder: Path) -> None:
    """Raise InputError if the folder holds a checkpoint that a new training run would replace."""
    if (folder / TENSORS).exists():
        raise InputError(
            f"{folder} holds a checkpoint, but no state to go on from: name another --output, or pass --restart to "
            "replace it"
        )


def load_checkpoint(folder: Path) -> tuple[RetrievalModel, Tokenizer]:
    """The model, in evaluation mode, and its tokenizer.

    Raises InputError naming the file, or the tensor that is missing, extra, of another shape or not finite.
    """
    try:
        data = decode_json((folder / "config.json").read_text("utf-8"))
        chosen = find_registration(data.get("model")).model
        config = chosen.Config.from_dict(data)
        tensors = load_file(folder / "model.safetensors")
    except InputError as error:
        raise InputError(f"{folder}/config.json: {error}: {FIX}") from error
    except FileNotFoundError as error:
        name = Path(error.filename).name if error.filename else "model.safetensors"
        raise InputError(f"the checkpoint {folder} has no {name}: {FIX}") from error
    except (OSError, ValueError, TypeError, AttributeError, SafetensorError) as error:
        raise InputError(f"the checkpoint {folder} cannot be read ({error}): {FIX}") from error
    name = tokenizer_file({file.name for file in folder.iterdir()}) or Vocabulary.file_name
    tokenizer = load_tokenizer(folder / name)
    if len(tokenizer) != config.vocab_size:
        raise InputError(
            f"{folder}: {tokenizer.file_name} has {len(tokenizer)} {tokenizer.unit}, "
            f"config.json says {config.vocab_size}: {FIX}"
        )
    try:
        with torch.device("meta"):
            model = chosen(config)
    except (TypeError, RuntimeError, OverflowError) as error:
        raise InputError(f"{folder}/config.json has sizes that no model has ({first_line(error)}): {FIX}") from error
    expected = model.state_dict()
    for name in sorted(expected.keys() - tensors.keys()):
        raise InputError(f"{folder}/model.safetensors has no tensor {name}: {FIX}")
    for name in sorted(tensors.keys() - expected.keys()):
        raise InputError(f"{folder}/model.safetensors has an unknown tensor {name}: {FIX}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise InputError(
                f"{folder}/model.safetensors: {name} has shape {list(tensor.shape)}, "
                f"not {list(expected[name].shape)}: {FIX}"
            )
        wanted = stored_type(expected[name])
        if tensor.dtype != wanted:
            raise InputError(
                f"{folder}/model.safetensors: {name} is {tensor.dtype}, not {str(wanted).removeprefix('torch.')}: {FIX}"
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{folder}/model.safetensors: {name} has NaN or infinite values: {FIX}")
    model.load_state_dict(tensors, assign=True)
    return model.eval().requires_grad_(False), tokenizer
