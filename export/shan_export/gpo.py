"""The generalised pooling operator of `shan_model.pooled.gpo` as graphs."""

from __future__ import annotations

from shan_model.norms import l2_normalise
from shan_model.pooled.bert import VseInfinityBert
from shan_model.pooled.gpo import Gpo, rank_positions
from shan_model.pooled.vse_infinity import VseInfinity
from torch import Tensor, nn

from shan_export.gru import GruRows, GruTextEncoderGraph


class GpoGraph(nn.Module):
    """Rows X x n x D and their mask -> vectors of length 1, X x D, with the GRU over ranks as its ONNX node."""

    def __init__(self, gpo: Gpo) -> None:
        super().__init__()
        self.gpo, self.states = gpo, GruRows(gpo.gru, unit_rows=False)

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Weigh the sorted values by their rank."""
        states, _ = self.states(rank_positions(mask), mask.sum(1))
        return l2_normalise(self.gpo.pool(rows, mask, states))


class GpoImageGraph(nn.Module):
    """features B x K x F, region_mask B x K -> `image_vector`."""

    def __init__(self, model: VseInfinity | VseInfinityBert) -> None:
        super().__init__()
        self.encoder, self.pool = model.image_encoder, GpoGraph(model.image_pool)

    def forward(self, features: Tensor, region_mask: Tensor) -> dict[str, Tensor]:
        """Encode the regions, then pool them."""
        return {"image_vector": self.pool(self.encoder(features), region_mask)}


class GpoBertGraph(nn.Module):
    """tokens C x n, lengths C -> `caption_vector`, by the text encoder as it is."""

    def __init__(self, model: VseInfinity | VseInfinityBert) -> None:
        super().__init__()
        self.text, self.pool = model.text_encoder, GpoGraph(model.text_pool)

    def forward(self, tokens: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Encode the tokens, then pool them."""
        return {"caption_vector": self.pool(*self.text(tokens, lengths))}


class GpoTextGraph(nn.Module):
    """tokens C x n, lengths C -> `caption_vector`."""

    def __init__(self, model: VseInfinity) -> None:
        super().__init__()
        self.text, self.pool = GruTextEncoderGraph(model), GpoGraph(model.text_pool)

    def forward(self, tokens: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Encode the words, then pool them."""
        return {"caption_vector": self.pool(*self.text.encode(tokens, lengths))}


def text_graph(model: VseInfinity) -> nn.Module:
    """The graph of captions: of the GRU, or of the transformer that the model has instead."""
    return GpoBertGraph(model) if model.config.transformer else GpoTextGraph(model)
