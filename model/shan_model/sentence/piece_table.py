"""Embeddings of a sentence model's pieces: as its package has them, or packed for a bundle."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

CHUNKS = 17  # parts of the package's table, interleaved, each with its own scale
TOGETHER = 4  # values that share a code
CODES = 256


class WholeTable(nn.Module):
    """8 bits a value; piece p has the scale and offset of chunk p mod 17."""

    codes: Tensor
    scale: Tensor
    offset: Tensor

    def __init__(self, pieces: int, size: int) -> None:
        super().__init__()
        self.register_buffer("codes", torch.zeros(pieces, size, dtype=torch.uint8))
        self.register_buffer("scale", torch.zeros(CHUNKS))
        self.register_buffer("offset", torch.zeros(CHUNKS))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens C x n to C x n x size."""
        chunk = tokens % CHUNKS
        return self.codes[tokens].to(self.scale.dtype) * self.scale[chunk][..., None] + self.offset[chunk][..., None]


class PackedTable(nn.Module):
    """Two bits a value, four for the first pieces, which are the most frequent ones.

    A code of 8 bits stands for four values of a row: their mean in one of 256 clusters (Gersho and Gray, Vector
    Quantization, 1992). Of the first pieces, a second code stands for what the first leaves over.
    """

    codes: Tensor
    refinements: Tensor
    book: Tensor
    scale: Tensor

    def __init__(self, pieces: int, refined: int, size: int) -> None:
        super().__init__()
        self.register_buffer("codes", torch.zeros(pieces, size // TOGETHER, dtype=torch.uint8))
        # The last row is that of all other pieces: code 0, which stands for zeros.
        self.register_buffer("refinements", torch.zeros(refined + 1, size // TOGETHER, dtype=torch.uint8))
        self.register_buffer("book", torch.zeros(2, CODES, TOGETHER))
        self.register_buffer("scale", torch.zeros(pieces, dtype=torch.float16))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens C x n to C x n x size."""
        refined = tokens.clamp_max(len(self.refinements) - 1)
        values = embedding(embedding(tokens, self.codes).int(), self.book[0])
        values = values + embedding(embedding(refined, self.refinements).int(), self.book[1])
        return values.flatten(-2) * embedding(tokens, self.scale[:, None]).to(values.dtype)


def pack(table: WholeTable, refined: int, *, sample: int = 400_000, rounds: int = 15) -> PackedTable:
    """The table with two bits a value, four for the first `refined` pieces.

    The codes are clusters of `sample` fours of values.
    """
    pieces, size = table.codes.shape
    rows = table(torch.arange(pieces))
    scale = rows.square().mean(1, keepdim=True).sqrt().half()
    fours = (rows / scale.float().clamp_min(1e-6)).unflatten(1, (-1, TOGETHER))
    packed = PackedTable(pieces, refined, size)
    book = _clusters(_some(fours, sample), rounds)
    packed.codes.copy_(_nearest(fours, book))
    left = fours[:refined] - book[packed.codes[:refined].int()]
    finer = _clusters(_some(left, sample), rounds)
    finer[0] = 0
    packed.refinements[:refined].copy_(_nearest(left, finer))
    packed.book.copy_(torch.stack([book, finer]))
    packed.scale.copy_(scale[:, 0])
    return packed


def _some(fours: Tensor, sample: int) -> Tensor:
    flat = fours.flatten(0, 1)
    return flat[torch.randperm(len(flat), generator=torch.Generator().manual_seed(0))[:sample]]


def _clusters(fours: Tensor, rounds: int) -> Tensor:
    """Means of 256 clusters of N x 4 values, by k-means from the first of them."""
    book = fours[:CODES].clone()
    for _ in range(rounds):
        nearest = _nearest(fours, book)[:, None].expand(-1, TOGETHER)
        sums = torch.zeros_like(book).scatter_add_(0, nearest, fours)
        counts = torch.zeros_like(book).scatter_add_(0, nearest, torch.ones_like(fours))
        book = torch.where(counts > 0, sums / counts.clamp_min(1), book)
    return book


def _nearest(fours: Tensor, book: Tensor) -> Tensor:
    """The number of each four's nearest mean, ... x 4 to ... ."""
    half = book.square().sum(1) / 2
    parts = torch.split(fours.flatten(0, -2), 16384)
    return torch.cat([(part @ book.T).sub_(half).argmax(1) for part in parts]).view(fours.shape[:-1])
