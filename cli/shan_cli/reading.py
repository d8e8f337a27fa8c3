"""What reading the text of photos says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shan_cli.console import progress, say

if TYPE_CHECKING:
    from shan_engine.photos.read_text import ReadingResult
    from shan_engine.photos.text_reader import Reader

_LONG = 120  # seconds; of a run that takes longer, the time is told


def read_store(store: Path, reader: Reader, workers: int) -> ReadingResult:
    """Read the photos of a store that were not read yet, with progress, and say which cannot be read."""
    from shan_engine.photos.read_text import read_texts

    with progress("reading text", "photos") as (on_start, on_photo):
        result = read_texts(store, reader, workers=workers, **told_pace(on_start), on_photo=on_photo)
    say_unread(result)
    return result


def told_pace(on_start: Callable[[int], None]) -> dict[str, Any]:
    """`on_start` and `on_pace` for `read_texts`, which say once how long a large run takes."""
    total = 0

    def start(count: int) -> None:
        nonlocal total
        total = count
        on_start(count)

    def pace(seconds: float) -> None:
        from shan_engine.indexing.remake import duration

        if seconds * total > _LONG:
            say(f"reading text takes {seconds:.2g} seconds a photo, about {duration(seconds * total)} for {total:,}")

    return {"on_start": start, "on_pace": pace}


def say_unread(result: ReadingResult, said: set[str] | None = None) -> None:
    """Say which photos could not be read, or only in part. Sentences in `said` are not said again."""
    known = set[str]() if said is None else said
    sentences = [f"text not read: {sentence}" for sentence in result.broken]
    for sentence in (*sentences, *(f"read in part: {sentence}" for sentence in result.damaged)):
        if sentence not in known:
            known.add(sentence)
            say(sentence)


def say_reading(store: Path, result: ReadingResult) -> None:
    """Say what was read."""
    say(
        f"{store}: text read in {result.read:,} photos, {result.with_text:,} have {result.lines:,} lines; "
        f"{result.known:,} were read before"
    )
