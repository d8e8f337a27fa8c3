"""A text encoder of words: a pretrained BERT, whose pieces are pooled to words, and a linear layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout as dropped

from shan_model.bert.pieces import pooled_words, word_starts
from shan_model.bert.transformer import Bert
from shan_model.choices import WHOLE
from shan_model.config import TransformerConfig
from shan_model.encoders import TextDropout, TextEncoder
from shan_model.norms import l2_normalise
from shan_model.read_once import ReadOnce, padded_rows


class WordTransformer(TextEncoder):
    """t_j = W h_j + b, scaled to length 1 if `unit_rows`; h_j is the mean of BERT's last states of word j.

    A word has the row of its first token, and the mask leaves out the others. Markers are words of their own.
    """

    piece_kinds: Tensor

    def __init__(self, config: TransformerConfig, *, vocab_size: int, embed_dim: int, unit_rows: bool) -> None:
        super().__init__()
        self.unit_rows = unit_rows
        self.bert = Bert(
            vocab_size=vocab_size, dim=config.dim, layers=config.layers, heads=config.heads, hidden=config.hidden,
            positions=config.positions, epsilon=config.epsilon,
        )  # fmt: skip
        self.register_buffer("piece_kinds", torch.zeros(vocab_size, 3, dtype=torch.bool))
        self.linear = nn.Linear(config.dim, embed_dim)
        self._fixed = False
        self._read_once = ReadOnce()

    def forward(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens C x n (int64) and lengths C to words T, C x n x D, and their mask C x n."""
        return self.projected(*self.states(tokens, lengths))

    def forward_with_dropout(self, tokens: Tensor, lengths: Tensor, dropout: TextDropout) -> tuple[Tensor, Tensor]:
        """The same, with single values of the words' states left out."""
        remembers = self._fixed and tokens.device.type == "cpu"
        states, starts = self._known(tokens, lengths) if remembers else self.states(tokens, lengths)
        return self.projected(dropped(states, dropout.values), starts)

    def states(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Each word's mean state in the row of its first token, C x n x H, and which tokens those are, C x n."""
        starts, words = word_starts(self.piece_kinds, tokens, lengths)
        states, _ = self.bert(tokens, lengths)
        return pooled_words(states, starts, words), starts

    def projected(self, states: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
        """T and its mask from the words' states."""
        rows = self.linear(states)
        return (l2_normalise(rows) if self.unit_rows else rows) * starts[..., None], starts

    def freeze(self, tuned_layers: int | str) -> tuple[str, ...]:
        """Let training change the last `tuned_layers` layers only, or `all`; how the names of the others begin."""
        if tuned_layers == WHOLE:
            return ("piece_kinds",)
        first = max(0, len(self.bert.layers) - int(tuned_layers))
        frozen = [f"bert.{part}." for part in ("pieces", "places", "segments", "norm")]
        frozen += [f"bert.layers.{number}." for number in range(first)]
        for name, parameter in self.named_parameters():
            if name.startswith(tuple(frozen)):
                parameter.requires_grad_(False)
        self._fixed = first == len(self.bert.layers)
        return ("piece_kinds", *frozen)

    def _known(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What `states` gives, of captions that were each read once."""
        rows = self._read_once(lambda *one: self.states(*one)[0], tokens, lengths)
        starts, _ = word_starts(self.piece_kinds, tokens, lengths)
        return padded_rows(rows, tokens.shape[1]), starts
