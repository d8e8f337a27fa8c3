"""Opening what a command works on, and saying which gallery that is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from shan_cli.console import log, say

if TYPE_CHECKING:
    from shan_engine.base.choices import Backend, Device, Precision
    from shan_engine.caption_engine import CaptionEngine
    from shan_engine.engine import Engine
    from shan_engine.scoring.scorer import Scorer
    from shan_engine.shards.sharded import ShardedEngine


def open_engine(
    gallery: Path | None,
    model: Path | None,
    device: Device,
    backend: Backend = "auto",
    precision: Precision | None = None,
) -> Engine:
    """Open a gallery of photos, and say on standard error which one it is."""
    from shan_engine import api
    from shan_engine.locate import locate_gallery

    place = locate_gallery(gallery, model)
    log(f"bundle {place.bundle} ({place.bundle_reason})")
    engine = api.open(gallery, model, device=device, backend=backend, precision=precision, keep_pages=False)
    say(f"{len(engine):,} images in {place.gallery} ({place.reason})")
    return engine


def open_shards(
    galleries: Sequence[Path],
    model: Path | None,
    device: Device,
    backend: Backend = "auto",
    precision: Precision | None = None,
    *,
    ray: str | None = None,
    replicas: int = 1,
) -> ShardedEngine:
    """Open several galleries of photos as one, and say on standard error which they are."""
    from shan_engine import api

    engine = api.open_shards(
        galleries, model, ray=ray, replicas=replicas, device=device, backend=backend, precision=precision
    )
    workers = f", by {replicas * len(engine.shards)} workers on Ray" if ray else ""
    say(f"{len(engine):,} images in {len(engine.shards)} galleries{workers}: {', '.join(map(str, engine.paths))}")
    return engine


def open_caption_engine(gallery: Path | None, model: Path | None, device: Device) -> CaptionEngine:
    """Open a gallery of captions, and say on standard error which one it is."""
    from shan_engine import api
    from shan_engine.locate import locate_gallery

    place = locate_gallery(gallery, model)
    log(f"bundle {place.bundle} ({place.bundle_reason})")
    engine = api.open_captions(place.gallery, model, device=device)
    say(f"{len(engine):,} captions in {place.gallery} ({place.reason})")
    return engine


def open_encoder(model: Path | None, device: Device, gallery: Path | None = None) -> Scorer:
    """Open a bundle to encode with; for a `gallery`, the one that made it unless `model` names another."""
    from shan_engine.bundle.contents import Bundle
    from shan_engine.locate import bundle_reason, locate_bundle, place_of
    from shan_engine.scoring.scorer import Scorer

    if gallery is None:
        path, reason = locate_bundle(model), bundle_reason(model)
    else:
        place = place_of(gallery, model)
        path, reason = place.bundle, place.bundle_reason
    log(f"bundle {path} ({reason})")
    return Scorer(Bundle.open(path), device)
