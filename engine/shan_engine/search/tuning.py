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
from msgspec.structs import replace

from shan_engine.base.errors import GalleryError, InputError
from shan_engine.base.manifests import Fields, Format, Size

TUNING = "tuning.json"
TARGETS = (0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)
LEAST_STEP_1, LEAST_ALL_STEPS = 300, 50
# The ranks of the deepest hits in the first pass and in step 1 grow with the number of images to these powers, as
# measured from 8,000 real photos to 100,000 recombined ones (docs/performance.md).
GROWTH_STEP_1, GROWTH_ALL_STEPS = 0.8, 0.4
# The share of the allowed losses that may occur before step 1; keeping images costs less after it.
LOST_BEFORE_STEP_1 = 0.75
FIRST_PASS = "pooled"
"""What stands in for step 1 in the first pass; `tuning.json` says which it measured."""
_Share = Annotated[float, Meta(gt=0, le=1)]
_EACH_TARGET = Meta(min_length=len(TARGETS), max_length=len(TARGETS))


@dataclass(frozen=True)
class StageWidths:
    """How many images reach step 1, and how many of those reach all steps."""

    step_1: int
    all_steps: int


class Tuning(Fields, frozen=True):
    """For each of `TARGETS`, the measured share of images that must reach step 1, and the number for all steps.

    It was measured on the `top_k` hits of each of `queries` queries over `images` images. `first_pass` says what stood
    in for step 1; a measurement of another does not count.
    """

    images: Size
    queries: Size
    top_k: Size
    step_1: Annotated[tuple[_Share, ...], _EACH_TARGET]
    all_steps: Annotated[tuple[Size, ...], _EACH_TARGET]
    first_pass: str = ""

    def save(self, gallery: Path) -> None:
        """Write it into the gallery, replacing an older one."""
        FORMAT.save(gallery / TUNING, self)

    @classmethod
    def load(cls, gallery: Path) -> Tuning | None:
        """The gallery's tuning, or None, also for that of an earlier version. Raises GalleryError if it is damaged."""
        path = gallery / TUNING
        held = FORMAT.read(path) if path.exists() else None
        return held if held and held.first_pass == FIRST_PASS else None

    def widths(self, images: int, top_k: int, target: float) -> StageWidths:
        """The smallest measured widths that find at least `target` of the hits in a gallery of `images` images."""
        place = next(i for i, held in enumerate(TARGETS) if held >= target - 1e-9)
        grown = images / self.images
        reached = self.step_1[place] * self.images * grown**GROWTH_STEP_1
        wide = self.all_steps[place] * grown**GROWTH_ALL_STEPS * top_k / self.top_k
        return _at_least(min(reached, images), min(wide, images), top_k)


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

# For galleries that are not tuned: somewhat more than captions and short queries of Flickr8k needed among 100 thousand
# images of benchmarks/large_gallery.py: in step 1, 60 of the test split, in all steps, 29 of the dev split. Further
# parts of a score are known exactly in the first pass, so models with some need fewer images: a fifth more than `tune`
# gives for 300 captions of the dev split among 8,000 photos.
_ALL_STEPS = (80, 120, 200, 400, 500, 800, 10_000)
UNTUNED_WITH_PARTS = Tuning(
    images=100_000,
    queries=300,
    top_k=10,
    step_1=(0.0015, 0.00225, 0.003, 0.0045, 0.0075, 0.015, 1.0),
    all_steps=_ALL_STEPS,
    first_pass=FIRST_PASS,
)
UNTUNED = Tuning(
    images=100_000,
    queries=400,
    top_k=10,
    step_1=(0.015, 0.025, 0.035, 0.05, 0.07, 0.12, 1.0),
    all_steps=_ALL_STEPS,
    first_pass=FIRST_PASS,
)


def check_target(target: float) -> None:
    """Raise InputError for a recall target outside 0 to 1."""
    if not 0 < target <= 1:
        raise InputError(f"the recall target is {target}: give a share of the hits above 0 and up to 1, such as 0.99")


def choose_widths(
    gallery: Path, images: int, top_k: int, target: float, *, parts: bool = False, steps: int = 3
) -> StageWidths:
    """Widths from the gallery's own tuning, or else the untuned ones, for a target that passes `check_target`.

    `parts` says whether the scores have further parts. Of a model with one of the `steps`, scores after step 1 are the
    exact ones but for rounding: few images need to be looked at again.
    """
    untuned = UNTUNED_WITH_PARTS if parts else UNTUNED
    if steps == 1:
        untuned = replace(untuned, all_steps=(untuned.top_k,) * len(TARGETS))
    return (Tuning.load(gallery) or untuned).widths(images, top_k, target)


def _at_least(step_1: float, all_steps: float, top_k: int) -> StageWidths:
    least = max(LEAST_ALL_STEPS, 2 * top_k)
    wide = max(least, math.ceil(all_steps))
    return StageWidths(max(LEAST_STEP_1, wide, math.ceil(step_1)), wide)
