"""Opening what a command works on, and saying which gallery that is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from shan_cli.console import log, say

if TYPE_CHECKING:
    from shan_engine.base.choices import Backend, Device, Precision
    from shan_engine.engine import CaptionEngine, Engine
    from shan_engine.scoring.scorer import Scorer


def open_engine(
    gallery: Path | None,
    model: Path | None,
    device: Device,
    backend: Backend = "auto",
    precision: Precision | None = None,
) -> Engine:
    """Open a gallery of photos, and say on standard error which one it is."""
    from shan_engine import api
    from shan_engine.locate import bundle_reason, locate_gallery

    place = locate_gallery(gallery, model)
    log(f"bundle {place.bundle} ({bundle_reason(model)})")
    engine = api.open(gallery, model, device=device, backend=backend, precision=precision, keep_pages=False)
    say(f"{len(engine):,} images in {place.gallery} ({place.reason})")
    return engine


def open_caption_engine(gallery: Path | None, model: Path | None, device: Device) -> CaptionEngine:
    """Open a gallery of captions, and say on standard error which one it is."""
    from shan_engine import api
    from shan_engine.locate import bundle_reason, locate_gallery

    place = locate_gallery(gallery, model)
    log(f"bundle {place.bundle} ({bundle_reason(model)})")
    engine = api.open_captions(place.gallery, model, device=device)
    say(f"{len(engine):,} captions in {place.gallery} ({place.reason})")
    return engine


def open_encoder(model: Path | None, device: Device) -> Scorer:
    """Open a bundle to encode with."""
    from shan_engine.bundle.contents import Bundle
    from shan_engine.locate import bundle_reason, locate_bundle
    from shan_engine.scoring.scorer import Scorer

    path = locate_bundle(model)
    log(f"bundle {path} ({bundle_reason(model)})")
    return Scorer(Bundle.open(path), device)
