"""The text encoder of SHAN and of the models compared with it: a GRU over fixed word vectors and learnt embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout as dropped
from torch.nn.functional import pad
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from shan_model.bert.word_encoder import WordTransformer
from shan_model.config import GruConfig
from shan_model.encoders import TextDropout, TextEncoder
from shan_model.norms import l2_normalise
from shan_model.retrieval import RetrievalModel


class RecurrentTextEncoder(TextEncoder):
    """t_j = l2((h→_j + h←_j) / 2), h from a GRU over a vector for each token; of one direction, t_j = l2(h→_j)."""

    gru: nn.GRU
    unit_rows = True

    def encode(self, embedded: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """T and its mask from the embedded words, C x n x input size."""
        words = embedded.shape[1]
        packed = pack_padded_sequence(embedded, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=words)
        rows = states.reshape(*embedded.shape[:2], -1, self.gru.hidden_size).mean(dim=-2)
        mask = torch.arange(words, device=embedded.device)[None, :] < lengths[:, None].to(embedded.device)
        return (l2_normalise(rows) if self.unit_rows else rows) * mask[:, :, None], mask


class GruTextEncoder(RecurrentTextEncoder):
    """The GRU over [word vector ; learnt embedding]. Its rows have length 1 unless it is told that they need not."""

    def __init__(
        self,
        *,
        vocab_size: int,
        word_vector_dim: int,
        embedding_dim: int,
        embed_dim: int,
        bidirectional: bool = True,
        unit_rows: bool = True,
    ) -> None:
        super().__init__()
        self.unit_rows = unit_rows
        self.word_vectors = nn.Embedding(vocab_size, word_vector_dim)
        self.word_vectors.weight.requires_grad_(False)
        self.embedding = nn.Embedding(vocab_size, embedding_dim)
        size = word_vector_dim + embedding_dim
        self.gru = nn.GRU(size, embed_dim, batch_first=True, bidirectional=bidirectional)

    def forward(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens C x n (int64) and lengths C to words T, C x n x D, and their mask C x n."""
        return self.encode(torch.cat([self.word_vectors(tokens), self.embedding(tokens)], dim=-1), lengths)

    def forward_with_dropout(self, tokens: Tensor, lengths: Tensor, dropout: TextDropout) -> tuple[Tensor, Tensor]:
        """The same, with embeddings left out whole: so a word never seen, which has none, still means something."""
        keep = torch.rand_like(tokens, dtype=torch.float32) >= dropout.embedding
        embedded = torch.cat([self.word_vectors(tokens), self.embedding(tokens) * keep[:, :, None]], dim=-1)
        return self.encode(dropped(embedded, dropout.values), lengths)

    @torch.no_grad()
    def load_word_vectors(self, vectors: Tensor) -> None:
        """Start from these vectors, and from learnt embeddings of 0: that of a word never seen stays neutral."""
        self.word_vectors.weight.copy_(vectors)
        self.embedding.weight.zero_()


class GruModel(RetrievalModel):
    """A model whose text encoder is the GRU, or a pretrained transformer if its configuration has one."""

    adds_words = True
    text_sources = ("word vectors", "text encoder")
    unit_words: ClassVar[bool] = True
    """Whether the rows of T have length 1."""
    config: GruConfig
    text_encoder: GruTextEncoder | WordTransformer

    def build_text_encoder(self) -> GruTextEncoder | WordTransformer:
        """The GRU or the transformer."""
        if self.config.transformer is not None:
            return WordTransformer(
                self.config.transformer,
                vocab_size=self.config.vocab_size,
                embed_dim=self.config.embed_dim,
                unit_rows=self.unit_words,
            )
        return GruTextEncoder(
            vocab_size=self.config.vocab_size,
            word_vector_dim=self.config.word_vector_dim,
            embedding_dim=self.config.embedding_dim,
            embed_dim=self.config.embed_dim,
            bidirectional=self.config.bidirectional,
            unit_rows=self.unit_words,
        )

    @property
    def most_tokens(self) -> int | None:
        """The places that a transformer knows; a GRU reads any text."""
        return self.config.transformer.positions if self.config.transformer else None

    def trained_copy(self, state: Mapping[str, Tensor], vectors: Tensor) -> Self:
        """The model with more words: `vectors` has one each, the model's own words first, words x size.

        The further words have no learnt embedding.
        """
        if self.config.transformer is not None:
            return super().trained_copy(state, vectors)
        words = {**self.state_dict(), **state}
        words["text_encoder.word_vectors.weight"] = vectors
        learnt = state["text_encoder.embedding.weight"]
        words["text_encoder.embedding.weight"] = pad(learnt, (0, 0, 0, len(vectors) - len(learnt)))
        return self._copy(replace(self.config, vocab_size=len(vectors)), words)
