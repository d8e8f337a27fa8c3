"""What the published kinds whose captions are read by bert-base-uncased have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shan_engine.base.errors import InputError
from shan_engine.text.hugging_face import HuggingFaceTokenizer

from shan_model.bert.folder import of_pieces
from shan_model.bert.names import BERT
from shan_model.published.states import IMAGE, TEXT, States

HEAD = 64  # numbers of a head, in every BERT that Google published
OWN = "text_encoder.bert."
_FIX = "give the tokenizer.json or vocab.txt of bert-base-uncased, as --vocab"


def bert_sizes(states: States, place: int, prefix: str) -> dict[str, int]:
    """Sizes for `BertTextConfig`, of a BERT whose names begin with `prefix`."""
    vocab_size, dim = states[place, f"{prefix}embeddings.word_embeddings.weight"].shape
    layers = 0
    while states.has(place, f"{prefix}encoder.layer.{layers}."):
        layers += 1
    return {
        "vocab_size": vocab_size,
        "text_dim": dim,
        "text_layers": layers,
        "text_heads": max(1, dim // HEAD),
        "text_hidden": len(states[place, f"{prefix}encoder.layer.0.intermediate.dense.weight"]),
        "text_positions": len(states[place, f"{prefix}embeddings.position_embeddings.weight"]),
    }


def linear_and_bert_sizes(states: States) -> dict[str, Any]:
    """The same, and those of an image encoder with a linear layer, as VSE∞, ESA and CHAN have them."""
    embed_dim, feature_dim = states[IMAGE, "fc.weight"].shape
    states.demand_setting("no_imgnorm", False)
    states.demand_setting("no_txtnorm", False)
    return {"feature_dim": feature_dim, "embed_dim": embed_dim, **bert_sizes(states, TEXT, "bert.")}


def rename_linear_and_bert(states: States) -> None:
    """Take the tensors of their text encoders."""
    rename_bert(states, TEXT, "bert.")
    states.rename(TEXT, {"linear.": "text_encoder.linear."})


def rename_bert(states: States, place: int, prefix: str) -> None:
    """Take a BERT's tensors; its pooler is for another task."""
    states.leave(place, f"{prefix}pooler.", "is not read: scores are made of the words' states")
    states.leave(place, f"{prefix}embeddings.position_ids", "counts places")
    states.rename(place, {prefix + old: OWN + new for old, new in BERT.embeddings.items()})
    number = 0
    while states.has(place, layer := f"{prefix}{BERT.layers}{number}."):
        own = f"{OWN}layers.{number}."
        for kind in ("weight", "bias"):
            parts = [f"{layer}{part}.{kind}" for part in BERT.attention]
            states.join(place, parts, f"{own}attention.query_key_value.{kind}")
        states.rename(place, {layer + old: own + new for old, new in BERT.of_layer.items()})
        number += 1


def read_bert_tokenizer(path: Path, size: int) -> HuggingFaceTokenizer:
    """From a `tokenizer.json`, or from BERT's `vocab.txt` of one piece a line, lower-cased.

    Raises InputError for a missing or damaged file, or for one of another size.
    """
    try:
        tokenizer = of_pieces(path) if path.suffix == ".txt" else HuggingFaceTokenizer.load(path)
    except InputError as error:
        raise InputError(f"{str(error).rpartition(': ')[0]}: {_FIX}") from error
    if len(tokenizer) != size:
        raise InputError(f"{path} has {len(tokenizer):,} tokens, the checkpoint {size:,}: {_FIX}")
    return tokenizer
