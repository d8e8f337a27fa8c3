"""How many images the stages of a step-wise search see, so that it finds what an exhaustive search would.

    GALLERY/tuning.json   measured on a user's own queries by `shan-engine tune`

A hit of the exhaustive ranking is found where its rank in the first pass is within the images that meet step 1, and
its rank in step 1 within those that meet all steps. `tune` holds these ranks' quantiles.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from shan_engine.base.errors import GalleryError, InputError
from shan_engine.base.files import replacing
from shan_engine.base.manifests import demand

TUNING = "tuning.json"
TARGETS = (0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)
LEAST_STEP_1, LEAST_ALL_STEPS = 1000, 50
# Of the hits that may be lost, the share lost before step 1; images are cheaper to keep after it.
LOST_BEFORE_STEP_1 = 0.75


@dataclass(frozen=True)
class StageWidths:
    """How many images meet step 1, and how many of those all steps."""

    step_1: int
    all_steps: int


@dataclass(frozen=True)
class Tuning:
    """What was measured: for each of `TARGETS` the share of images that must meet step 1, and the number for all steps.

    `top_k` hits of each of `queries` queries over `images` images were looked for.
    """

    images: int
    queries: int
    top_k: int
    step_1: tuple[float, ...]
    all_steps: tuple[int, ...]

    def save(self, gallery: Path) -> None:
        """Write it into the gallery, in place of an older one."""
        with replacing(gallery / TUNING) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, gallery: Path) -> Tuning | None:
        """The gallery's; None where it has none. Raises GalleryError where it is damaged."""
        path = gallery / TUNING
        try:
            data = json.loads(path.read_text("utf-8"))
            demand(type(data) is dict and data.keys() == cls.__dataclass_fields__.keys(), "its fields are others")
            for name in ("step_1", "all_steps"):
                held = data[name]
                demand(type(held) is list and len(held) == len(TARGETS), f"its {name} is no list of {len(TARGETS)}")
                demand(all(type(x) in (int, float) and 0 < x < math.inf for x in held), f"its {name} are no numbers")
                data[name] = tuple(held)
            demand(all(type(data[name]) is int for name in ("images", "queries", "top_k")), "its counts are no numbers")
            return cls(**data)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise GalleryError(f"{path} is damaged ({error}): delete it, or run `shan-engine tune` again") from error

    def widths(self, images: int, top_k: int, target: float) -> StageWidths:
        """For a gallery of that many images, the least widths measured that find at least `target` of the hits."""
        place = next(i for i, held in enumerate(TARGETS) if held >= target - 1e-9)
        return _at_least(self.step_1[place] * images, self.all_steps[place] * top_k / self.top_k, top_k)


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
    """Those of the gallery's own tuning, else the untuned ones, for a target that `check_target` lets pass."""
    return (Tuning.load(gallery) or UNTUNED).widths(images, top_k, target)


def _at_least(step_1: float, all_steps: float, top_k: int) -> StageWidths:
    least = max(LEAST_ALL_STEPS, 2 * top_k)
    wide = max(least, math.ceil(all_steps))
    return StageWidths(max(LEAST_STEP_1, wide, math.ceil(step_1)), wide)
