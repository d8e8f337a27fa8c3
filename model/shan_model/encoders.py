"""SHAN's two encoders: regions and words into one space, rows of length 1."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from shan_model.norms import l2_normalise


class ImageEncoder(nn.Module):
    """v_i = l2(W_f f_i + b_f)."""

    def __init__(self, *, feature_dim: int, embed_dim: int) -> None:
        super().__init__()
        self.fc = nn.Linear(feature_dim, embed_dim)

    def forward(self, features: Tensor) -> Tensor:
        """Features B x K x F to regions V, B x K x D."""
        return l2_normalise(self.fc(features))


class TextEncoder(nn.Module):
    """t_j = l2((h→_j + h←_j) / 2), h from a bidirectional GRU over [word vector ; learnt embedding]."""

    def __init__(self, *, vocab_size: int, word_vector_dim: int, embedding_dim: int, embed_dim: int) -> None:
        super().__init__()
        self.word_vectors = nn.Embedding(vocab_size, word_vector_dim)
        self.word_vectors.weight.requires_grad_(False)
        self.embedding = nn.Embedding(vocab_size, embedding_dim)
        self.gru = nn.GRU(word_vector_dim + embedding_dim, embed_dim, batch_first=True, bidirectional=True)

    def forward(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens C x n (int64) and lengths C to words T, C x n x D, and their mask C x n."""
        return self.encode(torch.cat([self.word_vectors(tokens), self.embedding(tokens)], dim=-1), lengths)

    def encode(self, embedded: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The same from the embedded words x, C x n x (vector + embedding size)."""
        words = embedded.shape[1]
        packed = pack_padded_sequence(embedded, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=words)
        forward, backward = states.chunk(2, dim=-1)
        mask = torch.arange(words, device=embedded.device)[None, :] < lengths[:, None].to(embedded.device)
        return l2_normalise((forward + backward) / 2) * mask[:, :, None], mask
