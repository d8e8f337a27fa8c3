"""The GRU text encoder of `shan_model.recurrent` as a graph."""

from __future__ import annotations

import torch
from shan_model.norms import l2_normalise
from shan_model.recurrent import GruModel, GruTextEncoder
from torch import Tensor, nn
from torch.nn.functional import embedding

from shan_export.wrappers import TextEncoderGraph


class GruRows(nn.Module):
    """Embedded tokens C x n x size and lengths C -> T (C x n x D, 0 for padding) and its mask C x n.

    A row is the mean of both directions' states, scaled to length 1 if `unit_rows`.

    The GRU is written as its ONNX node: `nn.GRU` has no `sequence_lens` and would read the padding.
    """

    weight_ih: Tensor
    weight_hh: Tensor
    bias: Tensor

    def __init__(self, gru: nn.GRU, *, unit_rows: bool = True) -> None:
        super().__init__()
        self.hidden, self.unit_rows = gru.hidden_size, unit_rows
        sides = ("", "_reverse")[: 1 + gru.bidirectional]
        stacked = {
            name: torch.stack([_to_onnx_gates(getattr(gru, f"{name}_l0{side}").detach()) for side in sides])
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }
        self.register_buffer("weight_ih", stacked["weight_ih"])
        self.register_buffer("weight_hh", stacked["weight_hh"])
        self.register_buffer("bias", torch.cat([stacked["bias_ih"], stacked["bias_hh"]], dim=1))

    def forward(self, embedded: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Run the GRU over each caption's own length."""
        captions, n = embedded.shape[:2]
        states = torch.onnx.ops.symbolic(
            "GRU",
            (embedded.transpose(0, 1), self.weight_ih, self.weight_hh, self.bias, lengths.to(torch.int32)),
            {
                "hidden_size": self.hidden,
                "direction": "forward" if len(self.bias) == 1 else "bidirectional",
                "linear_before_reset": 1,
            },
            dtype=torch.float32,
            shape=(n, len(self.bias), captions, self.hidden),
        )
        mask = torch.arange(n)[None, :] < lengths[:, None]
        rows = states.mean(dim=1).transpose(0, 1)
        return (l2_normalise(rows) if self.unit_rows else rows) * mask[:, :, None], mask


class GruTextEncoderGraph(nn.Module):
    """tokens C x n, lengths C -> the model's caption terms, by a GRU node that knows the captions' lengths."""

    def __init__(self, model: GruModel) -> None:
        super().__init__()
        self.model, text = model, model.text_encoder
        assert isinstance(text, GruTextEncoder)
        # Word vectors are most of a bundle, so they are stored in half precision if that is exact.
        self.word_vectors: Tensor
        self.register_buffer("word_vectors", _halve_if_exact(text.word_vectors.weight.detach()))
        # Words never seen in training have a learnt embedding of 0: they share one row of zeros.
        weight = text.embedding.weight.detach()
        seen = weight.any(dim=1)
        self.embedding: Tensor
        self.register_buffer("embedding", torch.cat([weight[seen], weight.new_zeros(1, weight.shape[1])]))
        self.embedding_row: Tensor
        self.register_buffer("embedding_row", torch.where(seen, seen.cumsum(0) - 1, seen.sum()).to(torch.int32))
        self.rows = GruRows(text.gru, unit_rows=text.unit_rows)

    def forward(self, tokens: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Embed, run the GRU, then compute what a score needs of a caption."""
        return self.model.caption_terms(*self.encode(tokens, lengths))

    def encode(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """T and its mask."""
        embedded = embedding(self.embedding_row[tokens], self.embedding)
        if self.word_vectors.shape[1]:  # ONNX Runtime does not take tensors without numbers
            embedded = torch.cat([embedding(tokens, self.word_vectors).to(embedded.dtype), embedded], dim=-1)
        rows: tuple[Tensor, Tensor] = self.rows(embedded, lengths)
        return rows


def text_graph(model: GruModel) -> nn.Module:
    """The text encoder's graph: of the GRU, or of the transformer that the model has instead."""
    return TextEncoderGraph(model) if model.config.transformer else GruTextEncoderGraph(model)


def _halve_if_exact(weight: Tensor) -> Tensor:
    """The weight in float16 if that changes no number, otherwise as it is."""
    half = weight.half()
    return half if torch.equal(half.float(), weight) else weight


def _to_onnx_gates(weight: Tensor) -> Tensor:
    """torch's gate order (r, z, n) into ONNX's (z, r, h)."""
    reset, update, new = weight.chunk(3)
    return torch.cat([update, reset, new])
