"""A fault that a check found, and the verdict on a path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Part = Literal[
    "manifest", "array", "images", "list", "ids", "pooled", "metadata", "written", "querybank", "tuning", "bundle",
    "plans", "captions", "record", "store", "journal", "block", "unread",
]  # fmt: skip
"""What of a thing is damaged; `repair` treats each in its own way."""


@dataclass(frozen=True)
class Finding:
    """A fault of one part, in a sentence; `ids` are the images or captions concerned, where they are known.

    `block` is the name of a gallery's block, or the number of a job's.
    """

    part: Part
    file: str
    sentence: str
    ids: tuple[str, ...] = ()
    block: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {"part": self.part, "file": self.file, "sentence": self.sentence, "ids": list(self.ids)}


Event = int | Finding
"""What a check tells: how many images or files it has checked so far, or a fault."""


@dataclass(frozen=True)
class Verdict:
    """What a path is, how many `units` it holds by their name, and all faults."""

    path: Path
    kind: str
    counts: dict[str, int]
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is damaged."""
        return not self.findings

    @property
    def named(self) -> str:
        """What the path is, for the user to read."""
        return {"captions": "a gallery of captions"}.get(self.kind, f"a {self.kind}")

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        found = [finding.as_dict() for finding in self.findings]
        return {"path": str(self.path), "kind": self.kind, **self.counts, "sound": self.sound, "findings": found}


def clause(error: Exception | str) -> str:
    """What an error says is wrong, without the fix that follows the last colon."""
    return str(error).rpartition(": ")[0] or str(error)


def some(ids: tuple[str, ...] | list[str], unit: str = "image") -> str:
    """Ids for a sentence: all of up to three, else how many and the first."""
    named = ", ".join(f"'{id}'" for id in ids[:3])
    if len(ids) <= 3:
        return f"{unit}{'s' if len(ids) > 1 else ''} {named}"
    return f"{len(ids):,} {unit}s such as '{ids[0]}'"
