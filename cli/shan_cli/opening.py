"""Opening what a command asks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from shan_cli.console import BackendOption, DeviceOption, PrecisionOption, messages

if TYPE_CHECKING:
    from shan_engine.bundle.contents import Bundle
    from shan_engine.gallery.reader import Gallery
    from shan_engine.scoring.encoders import Scorer


def open_gallery(
    gallery: Path | None,
    model: Path | None,
    device: DeviceOption,
    backend: BackendOption = BackendOption.ONNXRUNTIME,
    precision: PrecisionOption | None = None,
) -> tuple[Scorer, Gallery]:
    """Open what a command means, and say on standard error which gallery that is."""
    bundle, (opened,) = open_galleries([gallery], model)
    return new_scorer(bundle, device, backend, precision), opened


def open_galleries(galleries: Sequence[Path | None], model: Path | None) -> tuple[Bundle, list[Gallery]]:
    """The galleries that a command means, all of one bundle; says on standard error which they are."""
    from shan_engine.bundle.contents import Bundle
    from shan_engine.gallery.reader import Gallery
    from shan_engine.locate import locate_gallery

    places = [locate_gallery(gallery, model) for gallery in galleries]
    bundle = Bundle.open(places[0].bundle)
    opened = [Gallery.open(place.gallery, bundle) for place in places]
    for place, held in zip(places, opened, strict=True):
        messages.print(f"{len(held):,} images in {place.gallery} ({place.reason})", markup=False, soft_wrap=True)
    return bundle, opened


def new_scorer(
    bundle: Bundle, device: DeviceOption, backend: BackendOption, precision: PrecisionOption | None
) -> Scorer:
    """A scorer as the options of a command ask for it."""
    from shan_engine.scoring.encoders import Scorer

    return Scorer(bundle, device.value, backend=backend.value, precision=precision.value if precision else None)
