"""What tensors of BERT and its kin are called in published files, and what they are here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Names:
    """How names begin in a file, beside how they begin in `Bert`; `attention` are a layer's query, key and value.

    `first_place` is the row of the first place of a text among the embeddings of places.
    """

    embeddings: Mapping[str, str]
    layers: str
    attention: tuple[str, str, str]
    of_layer: Mapping[str, str]
    first_place: int = 0

    def renamed(self, state: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
        """The tensors of a `Bert` with this many layers. Raises KeyError, naming a tensor that is missing."""
        found = {new + kind: state[old + kind] for old, new in self.embeddings.items() for kind in _kinds(new)}
        for number in range(layers):
            held, own = f"{self.layers}{number}.", f"layers.{number}."
            for kind in ("weight", "bias"):
                parts = [state[f"{held}{part}.{kind}"] for part in self.attention]
                found[f"{own}attention.query_key_value.{kind}"] = torch.cat(parts)
                found |= {f"{own}{new}{kind}": state[f"{held}{old}{kind}"] for old, new in self.of_layer.items()}
        found["places.weight"] = found["places.weight"][self.first_place :]
        if "segments.weight" not in found:  # DistilBERT has none: all are 0
            found["segments.weight"] = torch.zeros_like(found["places.weight"][:1])
        found["segments.weight"] = found["segments.weight"][:1].repeat(2, 1)  # only the first is ever used
        return found


def _kinds(name: str) -> tuple[str, ...]:
    return ("weight", "bias") if name == "norm." else ("weight",)


_EMBEDDINGS = {
    "embeddings.word_embeddings.": "pieces.",
    "embeddings.position_embeddings.": "places.",
    "embeddings.LayerNorm.": "norm.",
}
BERT = Names(
    embeddings={**_EMBEDDINGS, "embeddings.token_type_embeddings.": "segments."},
    layers="encoder.layer.",
    attention=("attention.self.query", "attention.self.key", "attention.self.value"),
    of_layer={
        "attention.output.dense.": "attention.output.",
        "attention.output.LayerNorm.": "attention_norm.",
        "intermediate.dense.": "hidden.",
        "output.dense.": "output.",
        "output.LayerNorm.": "output_norm.",
    },
)
ROBERTA = Names(BERT.embeddings, BERT.layers, BERT.attention, BERT.of_layer, first_place=2)
DISTILBERT = Names(
    embeddings=_EMBEDDINGS,
    layers="transformer.layer.",
    attention=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
    of_layer={
        "attention.out_lin.": "attention.output.",
        "sa_layer_norm.": "attention_norm.",
        "ffn.lin1.": "hidden.",
        "ffn.lin2.": "output.",
        "output_layer_norm.": "output_norm.",
    },
)
