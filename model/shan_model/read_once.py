"""What a frozen encoder makes of captions, each read once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

MOST = 2**30  # bytes


class ReadOnce:
    """Remembers rows of captions in half precision, up to a gigabyte; captions beyond it are read again.

    Each caption is read alone: in batches, its last bits would depend on the others, and a resumed run would differ.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[int, ...], Tensor] = {}
        self._room = MOST

    @torch.no_grad()
    def __call__(self, read: Callable[[Tensor, Tensor], Tensor], tokens: Tensor, lengths: Tensor) -> list[Tensor]:
        """What `read` gives of each of C captions alone, from tokens C x n and lengths C, as float32."""
        return [self._rows(read, row[:length]).float() for row, length in zip(tokens, lengths.tolist(), strict=True)]

    def _rows(self, read: Callable[[Tensor, Tensor], Tensor], caption: Tensor) -> Tensor:
        key = tuple(caption.tolist())
        if key in self._held:
            return self._held[key]
        rows = read(caption[None], torch.tensor([len(key)]))[0].half()
        if rows.nbytes <= self._room:
            self._room -= rows.nbytes
            self._held[key] = rows
        return rows


def padded_rows(rows: list[Tensor], count: int) -> Tensor:
    """Rows of C captions with zeros below, C x `count` x size."""
    padded = pad_sequence(rows, batch_first=True)
    return pad(padded, (0, 0, 0, count - padded.shape[1]))
