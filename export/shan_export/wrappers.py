"""A model as the three graphs of a bundle; the model itself stays untouched."""

from __future__ import annotations

import torch
from shan_model.norms import l2_normalise
from shan_model.retrieval import RetrievalModel
from torch import Tensor, nn
from torch.nn.functional import embedding

REGIONS = "image_regions"


class ImageEncoderGraph(nn.Module):
    """features B x K x F, region_mask B x K -> what a gallery stores: V where the model's terms have it, else all."""

    def __init__(self, model: RetrievalModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Tensor, region_mask: Tensor) -> dict[str, Tensor]:
        """Encode the features; a padding region's row is 0."""
        regions = self.model.image_encoder(features)
        terms = self.model.image_terms(regions, region_mask)
        if REGIONS in terms:
            return {REGIONS: terms[REGIONS] * region_mask[..., None]}
        return terms


class ImageTermsGraph(nn.Module):
    """image_regions B x K x D, region_mask B x K -> the model's other image terms."""

    def __init__(self, model: RetrievalModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, image_regions: Tensor, region_mask: Tensor) -> dict[str, Tensor]:
        """Everything of an image that no caption changes, from what the gallery stores."""
        terms = self.model.image_terms(image_regions, region_mask)
        return {name: term for name, term in terms.items() if name not in (REGIONS, "region_mask")}


class TextEncoderGraph(nn.Module):
    """tokens C x n, lengths C -> the model's caption terms."""

    def __init__(self, model: RetrievalModel) -> None:
        super().__init__()
        self.model = model
        # Word vectors are most of a bundle: where half precision holds them exactly, it does.
        self.word_vectors: Tensor
        self.register_buffer("word_vectors", _halved(model.text_encoder.word_vectors.weight.detach()))
        # The learnt part of words never seen in training is 0, and one row of zeros does for all of them.
        weight = model.text_encoder.embedding.weight.detach()
        seen = weight.any(dim=1)
        self.embedding: Tensor
        self.register_buffer("embedding", torch.cat([weight[seen], weight.new_zeros(1, weight.shape[1])]))
        self.embedding_row: Tensor
        self.register_buffer("embedding_row", torch.where(seen, seen.cumsum(0) - 1, seen.sum()).to(torch.int32))
        gru = model.text_encoder.gru
        self.hidden = gru.hidden_size
        self.weight_ih: Tensor
        self.weight_hh: Tensor
        self.bias: Tensor
        sides = ("", "_reverse")
        stacked = {
            name: torch.stack([_update_first(getattr(gru, f"{name}_l0{side}").detach()) for side in sides])
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }
        self.register_buffer("weight_ih", stacked["weight_ih"])
        self.register_buffer("weight_hh", stacked["weight_hh"])
        self.register_buffer("bias", torch.cat([stacked["bias_ih"], stacked["bias_hh"]], dim=1))

    def forward(self, tokens: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Embed, run the GRU over each caption's own length, then everything that no image changes.

        The GRU is written as its ONNX node: `nn.GRU` has no `sequence_lens` and would read the padding.
        """
        learnt = embedding(self.embedding_row[tokens], self.embedding)
        embedded = torch.cat([embedding(tokens, self.word_vectors).to(learnt.dtype), learnt], dim=-1)
        states = torch.onnx.ops.symbolic(
            "GRU",
            (embedded.transpose(0, 1), self.weight_ih, self.weight_hh, self.bias, lengths.to(torch.int32)),
            {"hidden_size": self.hidden, "direction": "bidirectional", "linear_before_reset": 1},
            dtype=torch.float32,
            shape=(tokens.shape[1], 2, tokens.shape[0], self.hidden),
        )
        word_mask = torch.arange(tokens.shape[1])[None, :] < lengths[:, None]
        words = l2_normalise(states.mean(dim=1).transpose(0, 1)) * word_mask[:, :, None]
        return self.terms(words, word_mask)

    def terms(self, words: Tensor, word_mask: Tensor) -> dict[str, Tensor]:
        """What the graph gives for words C x n x D, which names its outputs."""
        return self.model.caption_terms(words, word_mask)


def _halved(weight: Tensor) -> Tensor:
    """The weight in float16 if that changes no number, else as it is."""
    half = weight.half()
    return half if torch.equal(half.float(), weight) else weight


def _update_first(weight: Tensor) -> Tensor:
    """torch's gate order (r, z, n) into ONNX's (z, r, h)."""
    reset, update, new = weight.chunk(3)
    return torch.cat([update, reset, new])


class PairScorerGraph(nn.Module):
    """Image terms of B images, caption terms of C captions -> scores, step scores and, if there is, attention."""

    def __init__(self, model: RetrievalModel, image: list[str], caption: list[str]) -> None:
        super().__init__()
        self.model, self.image, self.caption = model, image, caption

    def forward(self, *terms: Tensor) -> tuple[Tensor, ...]:
        """The factorised score of every image with every caption."""
        split = len(self.image)
        image = dict(zip(self.image, terms[:split], strict=True))
        caption = dict(zip(self.caption, terms[split:], strict=True))
        return tuple(part for part in self.model.score_grid(image, caption) if part is not None)
