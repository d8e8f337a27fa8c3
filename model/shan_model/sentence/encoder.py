"""A frozen sentence model: the multilingual Universal Sentence Encoder v3 (Yang et al., ACL 2020), its CNN form.

A text is a row of SentencePiece pieces between `<s>` and `</s>`. Each piece has an embedding. Three branches of two
convolutions look at windows of 2, 3 and 5 pieces. The sum over the pieces, divided by the root of their number, goes
through dense layers to one vector of length 1.

`sentence_package.py` reads it from a PyPI package.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shan_model.choices import WordVectors
from shan_model.sentence.piece_table import PackedTable, WholeTable

BRANCHES = ((2, 0), (3, 1), (5, 2))  # pieces that a window has, and how many of them stand before its own
START, END = 1, 2  # `<s>` and `</s>`
BLANK = 6  # a word's start alone, "▁"
OUTSIDE = -1  # the word number of padding
WHOLE = 2**20  # that of a whole text, beside its words
EPSILON = 1e-12


class Dense(nn.Module):
    """x W + b, W of 8 bits a value with a scale for each output."""

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, inputs: int, outputs: int, *, bias: bool = False) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(inputs, outputs, dtype=torch.int8))
        self.register_buffer("scale", torch.zeros(outputs))
        self.register_buffer("bias", torch.zeros(outputs) if bias else None)

    def forward(self, x: Tensor) -> Tensor:
        """... x inputs to ... x outputs."""
        product = x @ self.matrix()
        return product if self.bias is None else product + self.bias

    def matrix(self) -> Tensor:
        """W, inputs x outputs."""
        return self.weight.to(self.scale.dtype) * self.scale


class LayerNorm(nn.Module):
    """Layer normalisation with fixed factors."""

    weight: Tensor
    bias: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(size))
        self.register_buffer("bias", torch.zeros(size))

    def forward(self, x: Tensor) -> Tensor:
        """... x size to the same."""
        return nn.functional.layer_norm(x, self.weight.shape, self.weight, self.bias, EPSILON)


class Branch(nn.Module):
    """Two convolutions over a window of pieces, each with a residual connection."""

    def __init__(self, channels: int, window: int, before: int) -> None:
        super().__init__()
        self.window, self.before = window, before
        self.first = Dense(window * channels, channels, bias=True)
        self.second = Dense(window * channels, channels, bias=True)

    def forward(self, x: Tensor, groups: Tensor) -> Tensor:
        """C x n x channels to the same; a window sees only pieces of its own group (C x n)."""
        count, n, channels = x.shape
        order = torch.arange(n, device=x.device)
        places = order[:, None] + torch.arange(self.window, device=x.device) - self.before
        index = within(places, order).flatten()
        own = groups.index_select(1, index).view(count, n, self.window) == groups[:, :, None]
        seen = (own & (places >= 0) & (places <= order.amax(0)))[..., None].to(x.dtype)
        for convolution in (self.first, self.second):
            windows = x.index_select(1, index).view(count, n, self.window, channels) * seen
            x = x + convolution(windows.flatten(2)).relu()
        return x


class SentenceModel(nn.Module):
    """Vectors of length 1 for texts and for their words. It has no parameters: nothing of it is trained.

    With `refined` its table is packed (`PackedTable`), otherwise as the package has it.
    """

    starts_word: Tensor
    pooling_bias: Tensor

    def __init__(
        self, *, pieces: int, refined: int | None = None, size: int = 512, channels: int = 256, hidden: int = 320
    ) -> None:
        super().__init__()
        self.channels = channels
        self.table = WholeTable(pieces, size) if refined is None else PackedTable(pieces, refined, size)
        self.register_buffer("starts_word", torch.zeros(pieces, dtype=torch.bool))
        self.projection = Dense(size, len(BRANCHES) * channels, bias=True)
        self.projection_norm = LayerNorm(len(BRANCHES) * channels)
        self.branches = nn.ModuleList(Branch(channels, window, before) for window, before in BRANCHES)
        features = size + len(BRANCHES) * channels
        self.norm = LayerNorm(features)
        self.pooling = Dense(features, size)
        self.register_buffer("pooling_bias", torch.zeros(size))
        self.hidden = Dense(size, hidden)
        self.hidden_from_hidden, self.hidden_residual = Dense(hidden, hidden), Dense(size, hidden)
        self.output = Dense(hidden, size)
        self.output_from_output, self.output_residual = Dense(size, size), Dense(hidden, size)

    def sentence(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Tokens C x n (int64), with markers, and lengths C to one vector of length 1 each, C x size."""
        groups = torch.where(self._real(tokens, lengths), 0, OUTSIDE)
        whole = torch.zeros_like(groups[:, :1])
        return self._pool(self._features(tokens, groups), groups, whole).squeeze(1)

    def words_and_sentence(self, tokens: Tensor, lengths: Tensor, kind: WordVectors) -> tuple[Tensor, Tensor]:
        """What `word_vectors` and `sentence` give, in one pass: a text is short, and reading the weights takes time."""
        words = self.word_numbers(tokens, lengths)
        whole = torch.where(words == OUTSIDE, OUTSIDE, WHOLE)
        if kind == "context":
            features = self._features(tokens, whole)
            vectors, sentence = self._pool(features, words, words), self._pool(features, whole, whole[:, :1])
        else:
            slots, groups = self._apart(tokens, words) if kind == "alone" else (tokens, words)
            slots, groups = torch.cat([slots, tokens], dim=1), torch.cat([groups, whole], dim=1)
            pooled = self._pool(self._features(slots, groups), groups, torch.cat([words, whole[:, :1]], dim=1))
            vectors, sentence = pooled[:, :-1], pooled[:, -1:]
        return vectors * (words != OUTSIDE)[..., None], sentence.squeeze(1)

    def word_vectors(self, tokens: Tensor, lengths: Tensor, kind: WordVectors = "alone") -> Tensor:
        """The vector of each piece's word, C x n x size, 0 for padding; all pieces of a word have the same.

        `alone` is what `sentence` gives for the word alone between markers. `masked` has no markers around it.
        `context` looks at the whole text, then pools each word's pieces.
        """
        words = self.word_numbers(tokens, lengths)
        if kind == "alone":
            slots, groups = self._apart(tokens, words)
            vectors = self._pool(self._features(slots, groups), groups, words)
        else:
            groups = words if kind == "masked" else torch.where(words == OUTSIDE, OUTSIDE, 0)
            vectors = self._pool(self._features(tokens, groups), words, words)
        return vectors * (words != OUTSIDE)[..., None]

    def word_numbers(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """The number of each piece's word in its text, C x n, from 0; -1 for padding. Markers are words too."""
        order = torch.arange(tokens.shape[1], device=tokens.device)
        before = tokens.index_select(1, within(order - 1, order))
        starts = (self.starts_word[tokens] & (before != BLANK)) | (order == 0)
        return torch.where(self._real(tokens, lengths), starts.long().cumsum(1) - 1, OUTSIDE)

    @staticmethod
    def _real(tokens: Tensor, lengths: Tensor) -> Tensor:
        return torch.arange(tokens.shape[1], device=tokens.device)[None, :] < lengths[:, None]

    @staticmethod
    def _apart(tokens: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """Each word between markers of its own: tokens and word numbers C x (3n + 1)."""
        captions, n = tokens.shape
        order = torch.arange(n, device=tokens.device)
        real, (first, last) = words != OUTSIDE, edges(words)
        places, spare = order + 2 * words + 1, 3 * n  # what is nowhere else goes to the spare place, outside all words
        moves = ((real, places), (first, places - 1), (last, places + 1))
        index = torch.cat([torch.where(held, place, spare) for held, place in moves], dim=1)
        values = torch.cat([tokens, torch.full_like(tokens, START), torch.full_like(tokens, END)], dim=1)
        numbers = torch.cat([torch.where(held, words, OUTSIDE) for held, _ in moves], dim=1)
        slots = tokens.new_zeros(captions, spare + 1).scatter(1, index, values)
        groups = tokens.new_full((captions, spare + 1), OUTSIDE).scatter(1, index, numbers)
        return slots, groups

    def _features(self, tokens: Tensor, groups: Tensor) -> Tensor:
        """Embeddings and branches, C x m x (size + 3 channels), of tokens C x m that see their own group."""
        embedded = self.table(tokens)
        parts = self.projection_norm(self.projection(embedded)).chunk(len(BRANCHES), dim=-1)
        seen = [branch(part, groups) for branch, part in zip(self.branches, parts, strict=True)]
        features: Tensor = self.norm(torch.cat([embedded, *seen], dim=-1))
        return features

    def _pool(self, features: Tensor, groups: Tensor, asked: Tensor) -> Tensor:
        """Features C x m x F of groups C x m to the vector of each group asked for (C x n), C x n x size."""
        member = (asked[:, :, None] == groups[:, None, :]).to(features.dtype)
        count = member.sum(-1, keepdim=True).clamp_min(1)
        # The sum of projected rows is the projection of their sum.
        mean = (self.pooling(member @ features) + count * self.pooling_bias) / count.sqrt()
        hidden = (self.hidden_from_hidden(self.hidden(mean).relu()) + self.hidden_residual(mean)).relu()
        vector = torch.tanh(self.output_from_output(self.output(hidden).relu()) + self.output_residual(hidden))
        return vector / vector.square().sum(-1, keepdim=True).clamp_min(EPSILON).sqrt()


def edges(words: Tensor) -> tuple[Tensor, Tensor]:
    """Which pieces are the first and which the last of their word, from word numbers C x n."""
    order = torch.arange(words.shape[1], device=words.device)
    real = words != OUTSIDE
    first = real & ((words != words.index_select(1, within(order - 1, order))) | (order == 0))
    last = real & ((words != words.index_select(1, within(order + 1, order))) | (order == order.amax(0)))
    return first, last


def within(places: Tensor, order: Tensor) -> Tensor:
    """The nearest of the places 0 to n - 1, which are `order`. A graph cannot take n as a number here."""
    return places.clamp_min(0).minimum(order.amax(0))
