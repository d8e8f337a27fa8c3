"""A text encoder that projects BERT's last states, and what models with it have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from shan_engine.base.errors import InputError
from torch import Tensor, nn

from shan_model.bert.transformer import Bert
from shan_model.config import ModelConfig
from shan_model.encoders import TextEncoder
from shan_model.norms import l2_normalise
from shan_model.retrieval import RetrievalModel


@dataclass(frozen=True, kw_only=True)
class BertTextConfig(ModelConfig):
    """Sizes of BERT: its state, layers, heads, the hidden layer inside a layer, and the longest text in tokens."""

    text_dim: int = 768
    text_layers: int = 12
    text_heads: int = 12
    text_hidden: int = 3072
    text_positions: int = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        self.demand_counts("text_dim", "text_layers", "text_heads", "text_hidden", "text_positions")
        if self.text_dim % self.text_heads:
            raise InputError(f"the model's text_heads are {self.text_heads}: they must divide {self.text_dim}")


class BertTextEncoder(TextEncoder):
    """t_j = W h_j + b, scaled to length 1 if `unit_rows`; h are BERT's last states."""

    def __init__(self, config: BertTextConfig, *, unit_rows: bool) -> None:
        super().__init__()
        self.unit_rows = unit_rows
        self.bert = Bert(
            vocab_size=config.vocab_size,
            dim=config.text_dim,
            layers=config.text_layers,
            heads=config.text_heads,
            hidden=config.text_hidden,
            positions=config.text_positions,
        )
        self.linear = nn.Linear(config.text_dim, config.embed_dim)

    def forward(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens C x n (int64) and lengths C to words T, C x n x D, and their mask C x n."""
        states, mask = self.bert(tokens, lengths)
        rows = self.linear(states)
        return (l2_normalise(rows) if self.unit_rows else rows) * mask[:, :, None], mask


class BertModel(RetrievalModel):
    """A model whose text encoder is BERT. It is imported, not trained here."""

    unit_words: ClassVar[bool] = True
    """Whether the rows of T have length 1."""
    text_sources = ()
    config: BertTextConfig

    def build_text_encoder(self) -> BertTextEncoder:
        """BERT and a linear layer."""
        return BertTextEncoder(self.config, unit_rows=self.unit_words)

    @property
    def most_tokens(self) -> int:
        """The places that BERT knows."""
        return self.config.text_positions
