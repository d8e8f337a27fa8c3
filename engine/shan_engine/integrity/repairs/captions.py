"""Repair a gallery of captions: its lists hold the texts, of which everything else is made."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from shan_engine.base.errors import GalleryError
from shan_engine.gallery.captions import FIX, LIST, CaptionGallery, CaptionManifest
from shan_engine.gallery.manifest import MANIFEST
from shan_engine.indexing.captions import rewrite_captions
from shan_engine.integrity.findings import Finding
from shan_engine.integrity.repairs.bundle import only_bundle, repair_bundle, sound_bundle
from shan_engine.integrity.repairs.storage import storage_of
from shan_engine.locate import kept_bundle
from shan_engine.scoring.scorer import Scorer

Rows = dict[int, tuple[str, str]]
"""Id and text of captions by their place."""


def repair_captions(
    path: Path,
    findings: Sequence[Finding],
    *,
    model: Path | None,
    agree: Callable[[Sequence[str]], None],
    on_captions: Callable[[int], None],
) -> list[str]:
    """Repair a gallery of captions with these findings; sentences of what was done.

    Raises GalleryError where its texts or its bundle are lost, and what `agree` raises when it hears what is lost.
    """
    done = []
    if any(one.part == "manifest" for one in findings):
        rows, missing, fingerprint = _all_rows(path), 0, ""
    else:
        manifest = CaptionManifest.load(path)
        fingerprint = manifest.fingerprint
        if any(one.part == "bundle" for one in findings):
            done += repair_bundle(kept_bundle(path, fingerprint), model)
        if all(one.part in ("bundle", "plans") for one in findings):
            return done
        rows = _rows(path, manifest)
        missing = sum(block.captions for block in manifest.blocks) - len(rows)
    if not rows:
        raise GalleryError(f"no caption of {path} can be read: {FIX}")
    if missing:
        agree([f"{missing:,} captions of {path}, whose texts are damaged: {FIX} to get them back"])
    bundle = (
        sound_bundle(kept_bundle(path, fingerprint), fingerprint, model) if fingerprint else only_bundle(path, model)
    )
    if bundle is None:
        raise GalleryError(f"no whole copy of the bundle that made {path} is known: name one with --model")
    scorer = Scorer(bundle)
    rewrite_captions(path, scorer, [rows[place] for place in sorted(rows)], _dtype(path), on_captions)
    return [*done, f"{len(rows):,} captions of {path} were encoded again"]


def _rows(path: Path, manifest: CaptionManifest) -> Rows:
    gallery = CaptionGallery(path, manifest.blocks)
    rows: Rows = {}
    for block in manifest.blocks:
        try:
            rows |= {place: (id, text) for place, id, text in gallery.listed(block)}
        except GalleryError:
            continue
    return rows


def _all_rows(path: Path) -> Rows:
    """Those of every list, if each place is there once: blocks of an earlier run may be among them."""
    rows: Rows = {}
    try:
        for file in path.glob(f"blocks/*/{LIST}"):
            for line in file.read_text("utf-8").splitlines():
                place, id, text = json.loads(line)
                if place in rows:
                    return {}
                rows[place] = str(id), str(text)
    except (OSError, ValueError, TypeError):
        return {}
    return rows if sorted(rows) == list(range(len(rows))) else {}


def _dtype(path: Path) -> str:
    found = storage_of(path.glob("blocks/*/*.npy"))
    if found is None:
        raise GalleryError(f"{path / MANIFEST} is damaged: {FIX}")
    return found
