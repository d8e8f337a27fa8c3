"""A pretrained text transformer in a Hugging Face folder: BERT and those that differ from it in names alone."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from shan_engine.base.errors import InputError, first_line
from shan_engine.text.hugging_face import HuggingFaceTokenizer
from torch import Tensor

from shan_model.bert.names import BERT, DISTILBERT, ROBERTA, Names
from shan_model.bert.pieces import piece_kinds
from shan_model.config import TransformerConfig
from shan_model.torch_files import load_plain

KINDS = {"bert": BERT, "distilbert": DISTILBERT, "roberta": ROBERTA, "xlm-roberta": ROBERTA}
CONFIG, VOCABULARY = "config.json", "vocab.txt"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
OF_DISTILBERT = {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
    "hidden_act": "activation",
}
_PREFIX = re.compile(r"^(?:bert|distilbert|roberta)\.")
_OLD_NORM = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
_FIX = "copy the whole folder of the model again"


@dataclass(frozen=True)
class PretrainedBert:
    """Sizes, tensors as `Bert` names them, what the pieces are (V x 3), and the tokenizer, with V tokens."""

    config: TransformerConfig
    state: dict[str, Tensor]
    kinds: Tensor
    tokenizer: HuggingFaceTokenizer

    @classmethod
    def load(cls, folder: Path) -> PretrainedBert:
        """Read a folder. Raises InputError where it is none, of another kind of model, incomplete or damaged."""
        data = _read_config(folder)
        names = KINDS[data["model_type"]]
        tokenizer = _read_tokenizer(folder)
        state = _renamed(folder, names, data)
        config = _sizes(folder, data, state)
        rows = len(state["pieces.weight"])
        if len(tokenizer) > rows:
            raise InputError(
                f"the tokenizer of {folder} has {len(tokenizer):,} tokens, the model {rows:,}: copy the same model's "
                "tokenizer into it"
            )
        # Some models have rows for more tokens than there are; nothing reads them.
        state["pieces.weight"] = state["pieces.weight"][: len(tokenizer)].clone()
        return cls(config, state, piece_kinds(tokenizer), tokenizer)


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: name the folder that holds the text encoder's {CONFIG}")
    try:
        data = json.loads(path.read_text("utf-8"))
        kind = data.get("model_type")
    except FileNotFoundError as error:
        raise InputError(f"{folder} has no {CONFIG}: name the whole folder of a model, as it was published") from error
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{path} cannot be read ({error}): {_FIX}") from error
    if kind not in KINDS:
        raise InputError(f"{folder} holds a model of type '{kind}': --text-encoder takes {', '.join(KINDS)}")
    if kind == "distilbert":
        data |= {new: data[old] for new, old in OF_DISTILBERT.items() if old in data}
    activation, places = data.get("hidden_act", "gelu"), data.get("position_embedding_type", "absolute")
    if activation != "gelu" or places != "absolute":
        odd = f"hidden_act {activation}" if activation != "gelu" else f"position_embedding_type {places}"
        raise InputError(f"{path} names {odd}, which is not that of BERT: give another text encoder")
    return dict(data)


def _sizes(folder: Path, data: dict[str, Any], state: dict[str, Tensor]) -> TransformerConfig:
    try:
        return TransformerConfig(
            dim=state["pieces.weight"].shape[1],
            layers=data["num_hidden_layers"],
            heads=data["num_attention_heads"],
            hidden=state["layers.0.hidden.bias"].shape[0],
            positions=state["places.weight"].shape[0],
            epsilon=float(data.get("layer_norm_eps", 1e-12)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / CONFIG} has no {error}: {_FIX}") from error


def _renamed(folder: Path, names: Names, data: dict[str, Any]) -> dict[str, Tensor]:
    """The tensors as `Bert` names them, in float32. Raises InputError where one is missing or not finite."""
    held = {}
    for name, tensor in _read_weights(folder).items():
        own = _PREFIX.sub("", name)
        for old, new in _OLD_NORM.items():
            own = own.replace(old, new)
        held[own] = tensor
    layers = data.get("num_hidden_layers")
    if not isinstance(layers, int) or layers < 1:
        raise InputError(f"{folder / CONFIG} names {layers} layers: {_FIX}")
    try:
        found = {name: tensor.float() for name, tensor in names.renamed(held, layers).items()}
    except KeyError as error:
        raise InputError(f"the weights in {folder} have no {error.args[0]}, which {CONFIG} asks for: {_FIX}") from error
    for name, tensor in found.items():
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(f"the weights in {folder} have NaN or infinite values, in {name}: {_FIX}")
    return found


def _read_weights(folder: Path) -> dict[str, Tensor]:
    path = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        raise InputError(f"{folder} has no weights: copy {' or '.join(WEIGHTS)} of the same model into it")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        held = load_plain(path)
        return {str(name): tensor for name, tensor in held.items() if isinstance(tensor, Tensor)}
    except Exception as error:  # both raise whatever their parts do
        raise InputError(f"the weights {path} cannot be read ({first_line(error)}): {_FIX}") from error


def _read_tokenizer(folder: Path) -> HuggingFaceTokenizer:
    if (folder / HuggingFaceTokenizer.file_name).is_file():
        return HuggingFaceTokenizer.load(folder / HuggingFaceTokenizer.file_name)
    if (folder / VOCABULARY).is_file():
        settings = folder / "tokenizer_config.json"
        lower = json.loads(settings.read_text("utf-8")).get("do_lower_case", True) if settings.is_file() else True
        return of_pieces(folder / VOCABULARY, lowercase=lower)
    raise InputError(
        f"{folder} has no tokenizer: copy {HuggingFaceTokenizer.file_name} or {VOCABULARY} of the same model into it"
    )


def of_pieces(path: Path, *, lowercase: bool = True) -> HuggingFaceTokenizer:
    """BERT's tokenizer from its `vocab.txt` of one piece a line. Raises InputError where that cannot be read."""
    from tokenizers.implementations import BertWordPieceTokenizer  # type: ignore[attr-defined]

    try:
        pieces = path.read_text("utf-8").rstrip("\n").split("\n")
        made: Any = BertWordPieceTokenizer({piece: number for number, piece in enumerate(pieces)}, lowercase=lowercase)
        return HuggingFaceTokenizer(made.to_str())
    except FileNotFoundError as error:
        raise InputError(f"there is no tokenizer {path}: {_FIX}") from error
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"the tokenizer {path} cannot be read ({error}): {_FIX}") from error
