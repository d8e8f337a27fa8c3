"""The files beside a photo that tell about it: XMP side-cars, and Google Takeout's JSON."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from shan_engine.base.errors import first_line
from shan_engine.base.facts import Facts
from shan_engine.photos.facts.takeout import takeout_facts
from shan_engine.photos.facts.xmp import xmp_facts

_MAX_BYTES = 16 << 20
# Takeout cuts a name at 46 characters, before ".json", and moves the number of a copy to its end.
_TAKEOUT_LENGTH = 46
_SUPPLEMENT = ".supplemental-metadata"
_COPY = re.compile(r"(?P<stem>.*?)(?P<copy>\(\d+\))?(?P<suffix>\.[^.]*)?", re.DOTALL)
_EDITED = re.compile(r"-(edited|bearbeitet|modifié|editado|edytowane|bewerkt|modificato|ha editado)$", re.IGNORECASE)


@dataclass(frozen=True)
class SideFacts:
    """What the files beside a photo say. `faults` has a sentence for each that cannot be read."""

    xmp: Facts = field(default_factory=dict)
    takeout: Facts = field(default_factory=dict)
    faults: tuple[str, ...] = ()


class Sidecars:
    """The side-cars of photos. A folder is listed once; several threads may ask."""

    def __init__(self) -> None:
        self._folders: dict[str, _Listing] = {}

    def stamp(self, photo: Path) -> str:
        """A text that changes when a side-car of the photo does, or comes or goes."""
        return ";".join(_stamp(path) for path in self._of(photo) if path is not None)

    def read(self, photo: Path) -> SideFacts:
        """What the photo's side-cars say."""
        faults: list[str] = []
        xmp, takeout = self._of(photo)
        return SideFacts(_read(xmp, xmp_facts, faults), _read(takeout, takeout_facts, faults), tuple(faults))

    def _of(self, photo: Path) -> tuple[Path | None, Path | None]:
        folder, name = os.path.split(photo)  # of many photos, faster than pathlib
        listing = self._folders.get(folder)
        if listing is None:
            listing = self._folders[folder] = _list(folder)
        xmp = json = None
        if listing.xmp:
            xmp = next((listing.xmp[name] for name in (photo.name, photo.stem) if name in listing.xmp), None)
        if listing.json:
            json = next((listing.json[key] for key in _takeout_keys(name) if key in listing.json), None)
        return (Path(folder, xmp) if xmp else None), (Path(folder, json) if json else None)


@dataclass(frozen=True)
class _Listing:
    """A folder's side-cars: XMP files by name without `.xmp`, Takeout's by the photo's name and number of copy."""

    xmp: dict[str, str]
    json: dict[tuple[str, str], str]


def _list(folder: str) -> _Listing:
    listing = _Listing({}, {})
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 faster than pathlib
    except OSError:
        return listing
    for name in names:
        stem, suffix = os.path.splitext(name)  # noqa: PTH122
        if suffix.lower() == ".xmp":
            listing.xmp[stem] = name
        elif suffix.lower() == ".json":
            copy = re.search(r"\(\d+\)$", stem)
            number = copy[0] if copy else ""
            listing.json.setdefault((_without_supplement(stem.removesuffix(number)), number), name)
    return listing


def _without_supplement(name: str) -> str:
    """A name without `.supplemental-metadata` at its end, or the part of it that was not cut off."""
    stem, dot, end = name.rpartition(".")
    return stem if stem and _SUPPLEMENT.startswith(dot + end) else name


def _takeout_keys(name: str) -> list[tuple[str, str]]:
    """Under which names and numbers of copy a photo's file may be listed, the likeliest first."""
    found = _COPY.fullmatch(name)
    assert found is not None  # it matches any text
    stem, copy, suffix = found["stem"], found["copy"] or "", found["suffix"] or ""
    whole = [(stem + suffix, copy), (name, ""), (_EDITED.sub("", stem) + suffix, copy)]
    return [key for base, number in whole for key in ((base, number), (base[:_TAKEOUT_LENGTH], number), (stem, number))]


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{path.name}:{status.st_size}:{status.st_mtime_ns}"


def _read(path: Path | None, parse: Callable[[bytes], Facts], faults: list[str]) -> Facts:
    if path is None:
        return {}
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it is larger than {_MAX_BYTES >> 20} MiB")
        return parse(path.read_bytes())
    except (OSError, ValueError, SyntaxError, LookupError, RecursionError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or first_line(error)
        faults.append(f"{path} cannot be read ({reason}), so its content is not known: write it again or delete it")
        return {}
