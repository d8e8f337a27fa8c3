"""What turns each side into rows of length 1 in one space: an image's regions, a caption's tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from shan_model.norms import l2_normalise


class ImageEncoder(nn.Module):
    """v_i = l2(W_f f_i + b_f)."""

    def __init__(self, *, feature_dim: int, embed_dim: int) -> None:
        super().__init__()
        self.fc = nn.Linear(feature_dim, embed_dim)

    def forward(self, features: Tensor) -> Tensor:
        """Features B x K x F to regions V, B x K x D."""
        return l2_normalise(self.fc(features))


@dataclass(frozen=True)
class TextDropout:
    """Probabilities of leaving out a token's whole learnt embedding, and single values of an embedded token."""

    embedding: float
    values: float


class TextEncoder(nn.Module, ABC):
    """Tokens of captions to a row for each token. Derive a transformer, or another network, from it."""

    @abstractmethod
    def forward(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens C x n (int64) and lengths C to words T, C x n x D, and their mask C x n.

        Rows of T are 0 where the mask is false. Others have length 1, unless the model is of vectors (`pooled`).
        """

    def forward_with_dropout(self, tokens: Tensor, lengths: Tensor, dropout: TextDropout) -> tuple[Tensor, Tensor]:
        """The same in training. An encoder with dropout layers of its own may ignore `dropout`, as this one does."""
        words, mask = self(tokens, lengths)
        return words, mask

    def load_word_vectors(self, vectors: Tensor) -> None:
        """Start from word vectors, tokens x size. An encoder without any ignores them, as this one does."""
