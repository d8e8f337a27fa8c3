"""What identifies a job. Its journal holds this, and its result holds most of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shan_engine.base.errors import InputError
from shan_engine.base.manifests import digest
from shan_engine.gallery.images import Images
from shan_engine.jobs.options import JobOptions
from shan_engine.scoring.scorer import Scorer

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class JobIdentity:
    """The digests and options that a result depends on.

    `galleries` holds the digest of each gallery's manifest, with the gallery's name if there are several.
    """

    captions: str
    bundle: str
    galleries: tuple[tuple[str, str], ...]
    direction: str
    top_k: int | None
    threshold: float | None
    matrix: bool
    since: str
    scored_by: str
    version: int = SCHEMA_VERSION

    @classmethod
    def of(
        cls,
        scorer: Scorer,
        images: Images,
        names: list[str],
        options: JobOptions,
        matrix: bool,
        captions: str,
        since: str,
    ) -> JobIdentity:
        """The identity of a job. `captions` and `since` are digests; `since` is empty if there is no earlier result."""
        several = len(names) > 1
        galleries = tuple(
            (name if several else "", digest(gallery.manifest.as_dict()))
            for name, gallery in zip(names, images.galleries, strict=True)
        )
        top_k, threshold = (None, None) if matrix else options.kept
        kept = (options.direction, top_k, threshold, matrix, since, scorer.pairs.name)
        return cls(captions, scorer.bundle.manifest.fingerprint, galleries, *kept)

    def metadata(self, images: Images, names: list[str]) -> dict[str, Any]:
        """What a table records about its job, for a later `since` to read: the options, and the blocks it covers."""
        fields = asdict(self)
        for name in ("since", "matrix", "galleries", "scored_by"):
            del fields[name]
        galleries = []
        for name, gallery in zip(names, images.galleries, strict=True):
            blocks = [
                [entry.name, entry.files.get("rows.npy", ""), list(entry.deleted)] for entry in gallery.manifest.blocks
            ]
            galleries.append({"name": name, "blocks": blocks})
        return {**fields, "galleries": galleries}


def refuse_another(folder: Path, held: dict[str, Any] | None, wanted: JobIdentity) -> None:
    """Raise InputError, naming the difference, if the job in a folder is not the wanted one."""
    fields = json.loads(json.dumps(asdict(wanted)))
    if held == fields:
        return
    try:
        what = next(_differences(held or {}, fields), "another version of shan-engine")
    except (LookupError, TypeError):  # fields of a later version
        what = "another version of shan-engine"
    raise InputError(
        f"{folder} holds a job that was started with {what}: continue it as it was started, name another output, or "
        "start over with --restart"
    )


def _differences(held: dict[str, Any], wanted: dict[str, Any]) -> Iterator[str]:
    """The differences between the held job and the wanted one, in words."""
    if held.get("version") != wanted["version"]:
        return
    if held["captions"] != wanted["captions"]:
        yield "other captions"
    if held["bundle"] != wanted["bundle"]:
        yield f"another bundle ({held['bundle'][:12]}, now {wanted['bundle'][:12]})"
    if len(held["galleries"]) != len(wanted["galleries"]):
        yield f"{len(held['galleries'])} galleries, now {len(wanted['galleries'])}"
    for number, (old, new) in enumerate(zip(held["galleries"], wanted["galleries"], strict=False), 1):
        if old != new:
            yield f"another gallery (number {number}{new[0] and ', now '}{new[0]}, or it has changed since)"
    for name in ("direction", "top_k", "threshold"):
        if held[name] != wanted[name]:
            yield f"another --{name.replace('_', '-')} ({held[name]}, now {wanted[name]})"
    if held["since"] != wanted["since"]:
        yield "another --since"
    if held["scored_by"] != wanted["scored_by"]:
        yield f"another back end ({held['scored_by']}, now {wanted['scored_by']})"
