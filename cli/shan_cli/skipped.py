"""What an extraction left out or read in part, said on standard error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from shan_cli.console import say

if TYPE_CHECKING:
    from shan_engine.photos.extract import ExtractionResult


def say_skipped(result: ExtractionResult, said: set[str] | None = None) -> None:
    """Say what was skipped, what was read in part, and which side-cars cannot be read.

    Sentences in `said` are not said again; new ones are added to it.
    """
    known = set[str]() if said is None else said
    for sentence in (*_passed_over(result.passed_over), *_sentences(result)):
        if sentence not in known:
            known.add(sentence)
            say(sentence)


def say_passed_over(passed_over: Mapping[str, int]) -> None:
    """Say which files were left out because this installation does not read their format, with the fix."""
    for sentence in _passed_over(passed_over):
        say(sentence)


def _sentences(result: ExtractionResult) -> Iterator[str]:
    from shan_engine.base.optional import install_command

    yield from (f"skipped: {sentence}" for sentence in result.broken)
    for folder, count in result.vanished.items():
        yield (
            f"{folder} is missing or empty: its {count:,} photos stay in the store. If you deleted them, run again "
            "with --prune"
        )
    yield from (f"read in part: {sentence}" for sentence in result.damaged)
    yield from (f"side-car: {sentence}" for sentence in result.sidecars)
    if result.unnamed_places:
        yield (
            f"{result.unnamed_places:,} photos tell where they were taken, but not the town's name: "
            f"{install_command('places')} and extract again"
        )


def _passed_over(passed_over: Mapping[str, int]) -> Iterator[str]:
    from shan_engine.photos.formats import how_to_read

    if passed_over:
        kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in passed_over.items())
        fixes = dict.fromkeys(how_to_read(suffix) for suffix in passed_over)
        yield f"skipped files of other formats: {kinds}; to use them, {'; '.join(fixes)}"
