"""Opening what a command asks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from shan_cli.console import log, say

if TYPE_CHECKING:
    from shan_engine.base.choices import Backend, Device, Precision
    from shan_engine.bundle.contents import Bundle
    from shan_engine.gallery.reader import Gallery
    from shan_engine.scoring.scorer import Scorer


def open_encoder(model: Path | None, device: Device) -> Scorer:
    """Open a bundle's encoders."""
    from shan_engine.bundle.contents import Bundle
    from shan_engine.locate import locate_bundle
    from shan_engine.scoring.scorer import Scorer

    return Scorer(Bundle.open(locate_bundle(model)), device)


def open_gallery(
    gallery: Path | None,
    model: Path | None,
    device: Device,
    backend: Backend = "onnxruntime",
    precision: Precision | None = None,
) -> tuple[Scorer, Gallery]:
    """Open the gallery that a command means, and say on standard error which one it is."""
    bundle, (opened,) = open_galleries([gallery], model)
    return new_scorer(bundle, device, backend, precision), opened


def open_galleries(galleries: Sequence[Path | None], model: Path | None) -> tuple[Bundle, list[Gallery]]:
    """Open the galleries that a command means, all of one bundle, and say on standard error which they are."""
    from shan_engine.bundle.contents import Bundle
    from shan_engine.gallery.reader import Gallery
    from shan_engine.locate import locate_gallery

    places = [locate_gallery(gallery, model) for gallery in galleries]
    bundle = Bundle.open(places[0].bundle)
    log(f"bundle {places[0].bundle}")
    opened = [Gallery.open(place.gallery, bundle) for place in places]
    for place, held in zip(places, opened, strict=True):
        say(f"{len(held):,} images in {place.gallery} ({place.reason})")
    return bundle, opened


def new_scorer(bundle: Bundle, device: Device, backend: Backend, precision: Precision | None) -> Scorer:
    """A scorer as the options of a command ask for it."""
    from shan_engine.scoring.scorer import Scorer

    return Scorer(bundle, device, backend=backend, precision=precision)
