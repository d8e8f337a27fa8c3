"""`shan-engine update`."""

from __future__ import annotations

import gc
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from shan_engine.base import choices

from shan_cli.console import print_json, progress, say
from shan_cli.folders import agreed_to_prune
from shan_cli.options import Device, Json, Prune, Verbose
from shan_cli.reading import say_unread, told_pace

if TYPE_CHECKING:
    from shan_engine.collections.settings import Collection
    from shan_engine.indexing.images import IndexResult
    from shan_engine.photos.extract import ExtractionResult
    from shan_engine.photos.read_text import ReadingResult
    from shan_engine.updating.update import Update

GC_OBJECTS = 1_000_000
"""New objects before garbage is looked for: what is read of photos holds no cycles, and looking takes 0.2 seconds."""
CollectionName = Annotated[
    str | None, typer.Argument(help="Name of the collection.", show_default="the only one, or photos")
]


def update(
    collection: CollectionName = None,
    prune: Prune = False,
    device: Device = "auto",
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Bring a collection up to date with its folders: extract, read the metadata and any text, index.

    Examples:

      shan-engine update

      shan-engine update work --prune

    Only new and changed photos take time. Stop it whenever you like: the next run goes on where it was.

    If a whole folder is missing or empty, as a share that is not mounted, it asks; without a terminal its photos stay.
    """
    from shan_engine.collections.named import need_collection

    gc.set_threshold(GC_OBJECTS)
    chosen = need_collection(collection)
    done = run_update(chosen, device, prune=prune, ask=not json, said=set())
    if json:
        reading = {} if done.reading is None else {"reading": vars(done.reading)}
        print_json({**vars(done.extraction), **reading, "indexing": vars(done.indexing), **_places(chosen)})
        return
    say(f"{chosen.name}: {done.summary}")
    if done.new:
        say('next: shan-engine search "two children on a beach"')


@dataclass(frozen=True)
class Done:
    """What an update did; `new` says that it made the gallery, `reading` is None where it reads no text."""

    extraction: ExtractionResult
    reading: ReadingResult | None
    indexing: IndexResult
    new: bool

    @property
    def changed(self) -> bool:
        """Whether anything changed in store or gallery."""
        found, indexed = self.extraction, self.indexing
        read = self.reading.read if self.reading else 0
        return any((found.added, found.removed, found.renamed, found.copied, read, indexed.added, indexed.removed))

    @property
    def summary(self) -> str:
        """Numbers of photos, for the user to read."""
        found = self.extraction
        counts = {
            "added or renewed": found.added,
            "unchanged": found.unchanged,
            "renamed": found.renamed,
            "copies of others": found.copied,
            "removed": found.removed,
            "kept of missing folders": sum(found.vanished.values()),
            "broken": len(found.broken),
            "read in part": len(found.damaged),
            "skipped": sum(found.passed_over.values()),
            "read for text": self.reading.read if self.reading else 0,
        }
        told = [f"{count:,} {what}" for what, count in counts.items() if count or what == "added or renewed"]
        return f"{', '.join(told)}; {self.indexing.added + self.indexing.unchanged:,} photos to search"


def run_update(
    collection: Collection, device: choices.Device, *, prune: bool = False, ask: bool = False, said: set[str]
) -> Done:
    """Bring a collection up to date, with progress. Sentences in `said` are not said again, and new ones added.

    With `ask`, the user decides about photos of folders that are missing or empty, if there is a terminal.
    """
    from shan_engine.gallery.manifest import MANIFEST
    from shan_engine.updating.update import updating

    from shan_cli.skipped import say_skipped

    new = not (collection.gallery / MANIFEST).exists()
    with updating(collection, device) as steps:
        extraction = _extracted(steps, prune)
        if ask and agreed_to_prune(extraction.vanished):
            removed = _extracted(steps, prune=True).removed
            extraction = replace(extraction, removed=extraction.removed + removed, vanished={})
        say_skipped(extraction, said)
        _describe(steps, said)
        reading = _read(steps, said) if collection.read_text else None
        with progress("indexing", "photos") as (on_start, on_images):
            indexing = steps.index(on_start=on_start, on_images=on_images)
    return Done(extraction, reading, indexing, new)


def _extracted(steps: Update, prune: bool) -> ExtractionResult:
    with progress("extracting", "photos") as (on_start, on_photo):
        return steps.extract(
            prune=prune,
            on_start=on_start,
            on_photo=on_photo,
            on_space=lambda space: say(f"the features take {space}"),
        )


def _read(steps: Update, said: set[str]) -> ReadingResult | None:
    with progress("reading text", "photos") as (on_start, on_photo):
        reading = steps.read_text(**told_pace(on_start), on_photo=on_photo)
    if reading is not None:
        say_unread(reading, said)
    return reading


def _describe(steps: Update, said: set[str]) -> None:
    described, notices = steps.describe()
    if described is None:
        return
    sentences = [*notices, f"metadata of {described.described:,} of {described.images:,} photos"]
    for sentence in sentences:
        if sentence not in said:
            said.add(sentence)
            say(sentence)


def _places(collection: Collection) -> dict[str, Any]:
    return {"collection": collection.name, "store": str(collection.store), "gallery": str(collection.gallery)}
