"""A folder with a packed sentence model and its tokenizer, from which a `sentence-shan` starts."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from shan_engine.base.errors import InputError
from shan_engine.base.files import replacing
from shan_engine.text.hugging_face import HuggingFaceTokenizer
from shan_engine.text.tokenizer import Tokenizer

from shan_model.sentence.encoder import SentenceModel

TENSORS = "sentence_model.safetensors"
FIX = "make it again with `python -m shan_export.pack_sentence_model`"


def save_sentence_model(model: SentenceModel, tokenizer: Tokenizer, folder: Path) -> None:
    """Write both files."""
    with replacing(folder / TENSORS) as path:
        path.write_bytes(save({name: tensor.contiguous() for name, tensor in model.state_dict().items()}))
    tokenizer.save(folder / tokenizer.file_name)


def load_sentence_model(folder: Path) -> tuple[SentenceModel, HuggingFaceTokenizer]:
    """The model, which must be packed, and its tokenizer. Raises InputError if a file is missing or damaged."""
    path = folder / TENSORS
    try:
        tensors = load_file(path)
        model = SentenceModel(
            pieces=len(tensors["starts_word"]),
            refined=len(tensors["table.refinements"]) - 1,
            size=len(tensors["pooling_bias"]),
            channels=len(tensors["projection.bias"]) // 3,
            hidden=tensors["hidden.weight"].shape[1],
        )
        model.load_state_dict(tensors, assign=True)
    except FileNotFoundError as error:
        raise InputError(f"there is no sentence model {path}: {FIX}") from error
    except (OSError, KeyError, RuntimeError, SafetensorError) as error:
        raise InputError(f"the sentence model {path} cannot be read ({error}): {FIX}") from error
    tokenizer = HuggingFaceTokenizer.load(folder / HuggingFaceTokenizer.file_name)
    if len(tokenizer) != len(model.starts_word):
        raise InputError(
            f"{folder}: tokenizer.json has {len(tokenizer)} pieces, {TENSORS} {len(model.starts_word)}: {FIX}"
        )
    return model.eval(), tokenizer
