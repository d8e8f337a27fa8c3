"""The table of readers."""

from __future__ import annotations

from file_readers import file_readers
from gallery_readers import gallery_readers
from made_readers import made_readers
from model_readers import model_readers
from page_readers import page_readers
from photo_readers import photo_readers
from reader import Reader, Shared

__all__ = ["Reader", "Shared", "all_readers", "find_reader"]


def all_readers(shared: Shared) -> list[Reader]:
    return [
        *file_readers(shared),
        *photo_readers(shared),
        *model_readers(shared),
        *made_readers(shared),
        *gallery_readers(shared),
        *page_readers(shared),
    ]


def find_reader(name: str, shared: Shared) -> Reader:
    return next(reader for reader in all_readers(shared) if reader.name == name)
