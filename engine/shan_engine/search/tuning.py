"""How many images each stage of the cascade must see to find what an exhaustive search finds.

    GALLERY/tuning.json   measured on a user's own queries by `shan-engine tune`

The cascade finds a hit of the exhaustive ranking if its rank in the first pass is within the images that reach step 1,
and its rank in step 1 within those that reach all steps. `tuning.json` holds the quantiles of these ranks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from shan_engine.base.errors import GalleryError, InputError
from shan_engine.base.manifests import Fields, Format, Size

TUNING = "tuning.json"
TARGETS = (0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)
LEAST_STEP_1, LEAST_ALL_STEPS = 1000, 50
# The share of the allowed losses that may occur before step 1; keeping images costs less after it.
LOST_BEFORE_STEP_1 = 0.75
_Share = Annotated[float, Meta(gt=0, le=1)]
_EACH_TARGET = Meta(min_length=len(TARGETS), max_length=len(TARGETS))


@dataclass(frozen=True)
class StageWidths:
    """How many images reach step 1, and how many of those reach all steps."""

    step_1: int
    all_steps: int


class Tuning(Fields, frozen=True):
    """For each of `TARGETS`, the measured share of images that must reach step 1, and the number for all steps.

    It was measured on the `top_k` hits of each of `queries` queries over `images` images.
    """

    images: Size
    queries: Size
    top_k: Size
    step_1: Annotated[tuple[_Share, ...], _EACH_TARGET]
    all_steps: Annotated[tuple[Size, ...], _EACH_TARGET]

    def save(self, gallery: Path) -> None:
        """Write it into the gallery, replacing an older one."""
        FORMAT.save(gallery / TUNING, self)

    @classmethod
    def load(cls, gallery: Path) -> Tuning | None:
        """The gallery's tuning, or None. Raises GalleryError if it is damaged."""
        path = gallery / TUNING
        return FORMAT.read(path) if path.exists() else None

    def widths(self, images: int, top_k: int, target: float) -> StageWidths:
        """The smallest measured widths that find at least `target` of the hits in a gallery of `images` images."""
        place = next(i for i, held in enumerate(TARGETS) if held >= target - 1e-9)
        return _at_least(self.step_1[place] * images, self.all_steps[place] * top_k / self.top_k, top_k)


FORMAT = Format(
    fields=Tuning,
    error=GalleryError,
    holder="",
    missing="there is no {path}: run `shan-engine tune`",
    damaged="{path} is damaged ({fault}): delete it, or run `shan-engine tune` again",
    remake="",
    version=None,
    signed=False,
)

# For galleries that are not tuned: somewhat more than 100 dev captions of Flickr8k needed among 100 thousand images of
# benchmarks/large_gallery.py (0.5 to 5 % in step 1, 33 to 123 in all steps) and, in all steps, among its 8,000 photos.
UNTUNED = Tuning(
    images=100_000,
    queries=100,
    top_k=10,
    step_1=(0.01, 0.012, 0.018, 0.025, 0.035, 0.08, 1.0),
    all_steps=(50, 60, 80, 110, 150, 200, 1000),
)


def check_target(target: float) -> None:
    """Raise InputError for a recall target outside 0 to 1."""
    if not 0 < target <= 1:
        raise InputError(f"the recall target is {target}: give a share of the hits above 0 and up to 1, such as 0.99")


def choose_widths(gallery: Path, images: int, top_k: int, target: float) -> StageWidths:
    """Widths from the gallery's own tuning, or else the untuned ones, for a target that passes `check_target`."""
    return (Tuning.load(gallery) or UNTUNED).widths(images, top_k, target)


def _at_least(step_1: float, all_steps: float, top_k: int) -> StageWidths:
    least = max(LEAST_ALL_STEPS, 2 * top_k)
    wide = max(least, math.ceil(all_steps))
    return StageWidths(max(LEAST_STEP_1, wide, math.ceil(step_1)), wide)
