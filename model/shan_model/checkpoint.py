"""A checkpoint folder: config.json, vocab.json and model.safetensors (docs/files.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from shan_engine.base.errors import InputError
from shan_engine.base.files import replacing
from shan_engine.text.vocabulary import Vocabulary
from torch import Tensor
from torch.nn.functional import pad

from shan_model.registry import model_class
from shan_model.retrieval import RetrievalModel

TENSORS = "model.safetensors"
FILES = (TENSORS, "config.json", "vocab.json")
MEND = "copy the whole checkpoint again, or train it again"


def save_checkpoint(model: RetrievalModel, vocabulary: Vocabulary, folder: Path) -> None:
    """Write the three files, each beside its place and renamed.

    Raises InputError where the disk is full; the tensors, by far the largest, are written before anything changes.
    """
    tensors = {name: tensor.detach().cpu().float().contiguous() for name, tensor in model.state_dict().items()}
    with replacing(folder / TENSORS) as path:
        path.write_bytes(save(tensors))
        with replacing(folder / "config.json") as config:
            config.write_text(json.dumps(model.config.to_dict(), indent=2) + "\n", "utf-8")
        vocabulary.save(folder / "vocab.json")


def refuse_checkpoint_alone(folder: Path) -> None:
    """Raise InputError where there is a checkpoint, for who would begin to train into a folder without a state."""
    if (folder / TENSORS).exists():
        raise InputError(
            f"{folder} holds a checkpoint, but no state to go on from: name another --output, or say --restart to "
            "train anew in its place"
        )


def with_words(model: RetrievalModel, state: Mapping[str, Tensor], vectors: Tensor) -> RetrievalModel:
    """The model of `state` on the CPU with more words: `vectors` has one each, its own first, words x size.

    Of the further words nothing is learnt.
    """
    words = dict(state)
    words["text_encoder.word_vectors.weight"] = vectors
    learnt = state["text_encoder.embedding.weight"]
    words["text_encoder.embedding.weight"] = pad(learnt, (0, 0, 0, len(vectors) - len(learnt)))
    with torch.device("meta"):
        grown = type(model)(replace(model.config, vocab_size=len(vectors)))
    grown.load_state_dict({name: tensor.cpu() for name, tensor in words.items()}, assign=True)
    return grown


def load_checkpoint(folder: Path) -> tuple[RetrievalModel, Vocabulary]:
    """The model, in evaluation mode, and its words.

    Raises InputError naming the file, or the tensor that is missing, extra, of another shape or not finite.
    """
    try:
        data = json.loads((folder / "config.json").read_text("utf-8"))
        chosen = model_class(data.get("model"))
        config = chosen.Config.from_dict(data)
        tensors = load_file(folder / "model.safetensors")
    except InputError as error:
        raise InputError(f"{folder}/config.json: {error}: {MEND}") from error
    except FileNotFoundError as error:
        name = Path(error.filename).name if error.filename else "model.safetensors"
        raise InputError(f"the checkpoint {folder} has no {name}: {MEND}") from error
    except (OSError, ValueError, TypeError, AttributeError, SafetensorError) as error:
        raise InputError(f"the checkpoint {folder} cannot be read ({error}): {MEND}") from error
    vocabulary = Vocabulary.load(folder / "vocab.json")
    if len(vocabulary) != config.vocab_size:
        raise InputError(
            f"{folder}: vocab.json has {len(vocabulary)} words, config.json says {config.vocab_size}: {MEND}"
        )
    with torch.device("meta"):
        model = chosen(config)
    expected = model.state_dict()
    for name in sorted(expected.keys() - tensors.keys()):
        raise InputError(f"{folder}/model.safetensors has no tensor {name}: {MEND}")
    for name in sorted(tensors.keys() - expected.keys()):
        raise InputError(f"{folder}/model.safetensors has an unknown tensor {name}: {MEND}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise InputError(
                f"{folder}/model.safetensors: {name} has shape {list(tensor.shape)}, "
                f"not {list(expected[name].shape)}: {MEND}"
            )
        if tensor.dtype != torch.float32:
            raise InputError(f"{folder}/model.safetensors: {name} is {tensor.dtype}, not float32: {MEND}")
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{folder}/model.safetensors: {name} has NaN or infinite values: {MEND}")
    model.load_state_dict(tensors, assign=True)
    return model.eval().requires_grad_(False), vocabulary
