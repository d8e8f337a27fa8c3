"""TensorRT plans of a bundle: which there are, and which may be run here.

`BUNDLE/engines/NAME` is one set: a plan for each graph, and `plans.json`. A set is for one compiler of one version,
one precision and some GPU architectures, and belongs to the graphs it was made from; any other is refused, never run.
The graphs are the bundle's image and text encoder and `pair_scorer`, which here makes an image's other terms itself
from what a gallery stores, so that no more than that goes to the GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shan_engine.base.choices import PRECISIONS, Precision
from shan_engine.base.errors import BackendError
from shan_engine.base.files import sha256
from shan_engine.base.manifests import Count, Fields, Format, Sha256, Size, demand, is_file_name
from shan_engine.bundle.contents import IMAGE_TERMS, Bundle
from shan_engine.bundle.manifest import GRAPHS

SCHEMA_VERSION = 1
ENGINES = "engines"
FILE = "plans.json"
NAMES = tuple(Path(graph).stem for graph in GRAPHS)


class Limits(Fields, frozen=True):
    """The most that one call takes; it may take less."""

    images: Size = 256
    regions: Size = 128
    captions: Size = 32
    words: Size = 128


# What plans are made fastest for.
OPTIMAL = Limits(images=64, regions=36, captions=16, words=16)
_OF_IMAGES = ("image_", "region_", "features")


def profile(name: str, shape: Sequence[int | str | None], limits: Limits) -> list[tuple[int, int, int]]:
    """Least, optimal and most of each axis of a graph's input; an axis that may change is no number above 0."""
    axes = ("images", "regions") if name.startswith(_OF_IMAGES) else ("captions", "words")
    sizes = []
    for axis, size in enumerate(shape):
        if isinstance(size, int) and size > 0:
            sizes.append((size, size, size))
        else:
            most, optimal = (getattr(held, axes[min(axis, 1)]) for held in (limits, OPTIMAL))
            sizes.append((1, min(most, optimal), most))
    return sizes


class PrecisionCheck(Fields, frozen=True):
    """What the graphs as converted do to scores, run by ONNX Runtime on the CPU.

    `largest_score_difference` is over random and edge inputs. `recall_change` is in points, by recall's name, over
    `images` of a captioned gallery; empty where none was given.
    """

    largest_score_difference: float
    images: Count = 0
    captions: Count = 0
    recall_change: dict[str, float] | None = None


class PlanSet(Fields, frozen=True):
    """What a set's `plans.json` says. `graphs` and `files` map a name to a SHA-256: what it was made from, and is."""

    compiler: str
    compiler_version: str
    precision: Precision
    architectures: tuple[str, ...]
    limits: Limits
    check: PrecisionCheck
    graphs: dict[str, Sha256]
    files: dict[str, Sha256]
    version: int = SCHEMA_VERSION

    @property
    def name(self) -> str:
        """The set's folder below `engines`."""
        return "-".join([self.precision, *self.architectures, self.compiler, self.compiler_version])

    def validate(self) -> None:
        """Names of files lead nowhere else."""
        for name in self.files:
            demand(is_file_name(name), f"the file name {name!r} is not a plain one")

    def save(self, folder: Path) -> None:
        """Write `plans.json` with a digest of all fields."""
        FORMAT.save(folder / FILE, self)

    @classmethod
    def load(cls, folder: Path) -> PlanSet:
        """Raises BackendError where the file is missing, damaged or of another schema."""
        return FORMAT.read(folder / FILE, folder.parent.parent)

    def refuse_stale(self, bundle: Bundle, folder: Path) -> None:
        """Raise BackendError where the set was made from other graphs, or a plan is not the file that was written."""
        if self.graphs != graph_digests(bundle):
            raise BackendError(f"the plans in {folder} were made from other graphs: {remake(bundle.path)}")
        for name, expected in self.files.items():
            path = folder / name
            if not path.is_file() or sha256(path) != expected:
                raise BackendError(f"{path} is not the plan that was compiled: {remake(bundle.path)}")


REMAKE = "run `shan-engine compile {place}` again"
FORMAT = Format(
    fields=PlanSet,
    error=BackendError,
    holder="{path}",
    missing="there is no {path}: " + REMAKE,
    damaged="{path} is damaged ({fault}): " + REMAKE,
    remake=REMAKE,
    version=SCHEMA_VERSION,
    indent=2,
)


def remake(bundle: Path) -> str:
    """The command that makes plans again."""
    return REMAKE.format(place=bundle)


def graph_digests(bundle: Bundle) -> dict[str, str]:
    """SHA-256 of each graph that plans are made from, by file name."""
    return {name: held for name, held in bundle.manifest.files.items() if name in (*GRAPHS, IMAGE_TERMS)}


def plan_sets(bundle: Bundle) -> list[Path]:
    """The folders of a bundle's sets, by name; whether they may be run is another question."""
    return sorted(path.parent for path in (bundle.path / ENGINES).glob(f"*/{FILE}"))


def find_plans(
    bundle: Bundle, *, compiler: str, version: str, architecture: str, precision: Precision | None = None
) -> tuple[Path, PlanSet]:
    """The folder and description of the one set that may be run here; the most exact where no precision is asked for.

    Raises BackendError, saying what there is instead, where there is none; and as `PlanSet.refuse_stale`.
    """
    held = [(folder, PlanSet.load(folder)) for folder in plan_sets(bundle)]
    wanted = f"{architecture}, {compiler} {version}"
    fitting = [
        (folder, plans)
        for folder, plans in held
        if (plans.compiler, plans.compiler_version) == (compiler, version)
        and architecture in plans.architectures
        and precision in (None, plans.precision)
    ]
    if not fitting:
        there = ", ".join(plans.name for _, plans in held) or "none"
        options = f" --gpu-arch {architecture}" + (f" --precision {precision}" if precision else "")
        raise BackendError(
            f"{bundle.path} has no {f'{precision} ' if precision else ''}plans for {wanted} (there: {there}): "
            f"run `shan-engine compile {bundle.path}{options}`"
        )
    folder, plans = min(fitting, key=lambda found: PRECISIONS.index(found[1].precision))
    plans.refuse_stale(bundle, folder)
    return folder, plans


def as_dict(plans: PlanSet) -> dict[str, Any]:
    """For `--json`."""
    return {"name": plans.name, **plans.as_dict()}


def architectures_of(names: Sequence[str]) -> tuple[str, ...]:
    """Distinct names like sm_86, sorted; raises BackendError for one that is not."""
    wrong = [name for name in names if not (name.startswith("sm_") and name[3:].isdigit())]
    if wrong:
        raise BackendError(
            f"'{wrong[0]}' is not a GPU architecture: give names such as sm_86 or sm_89, with commas between"
        )
    return tuple(sorted(dict.fromkeys(names), key=lambda name: int(name[3:])))
