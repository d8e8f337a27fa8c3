"""Whether an explanation points at the thing: the region named for a word lies on what the word means.

    python benchmarks/pointing.py FOLDER                        # the demo's bundle
    python benchmarks/pointing.py FOLDER --model B --row "new"

FOLDER is as for benchmarks/transfer.py. A case is a category and a photo that shows it. The category is asked as
"a dog" or "an apple". A hit means that the centre of the region that the explanation names lies on an instance's box.
A name of several words counts by the share of its words; a word that is not explained counts as a miss.

Beside it stand the photo's middle; chance, which is the share of the photo that the boxes cover; and the ceiling,
where any region's centre lies on a box. All are given for all cases, and for things on at most a quarter of the photo.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from provenance import recorded
from reports import read_report, write_report
from shan_engine.base.errors import InputError
from shan_engine.engine import Engine
from shan_engine.search.results import Hit
from transfer import Instance, Instances, opened, parser_of, read_instances, with_article

RESULTS = Path(__file__).parent / "results" / "pointing.json"
SMALL = 0.25
SAMPLES = 200  # a side, for the share of a photo that boxes cover


class Case(NamedTuple):
    """One category in one photo: shares of hits, 0 to 1."""

    explanation: float
    middle: float
    chance: float
    ceiling: float


def on_instance(points: Iterable[tuple[float, float]], instances: Sequence[Instance]) -> NDArray[np.bool_]:
    """Whether each point, in pixels, lies on a box."""
    x, y = np.array(list(points), np.float64).reshape(-1, 2).T
    x0, y0, x1, y1 = np.array([instance.box for instance in instances]).T[..., None]
    return np.asarray(((x0 <= x) & (x <= x1) & (y0 <= y) & (y <= y1)).any(axis=0))


def centre(box: Sequence[float]) -> tuple[float, float]:
    x0, y0, x1, y1 = box
    return (x0 + x1) / 2, (y0 + y1) / 2


def covered(instances: Sequence[Instance]) -> float:
    """The share of the photo that the boxes cover together."""
    width, height = instances[0].size
    steps = (np.arange(SAMPLES) + 0.5) / SAMPLES
    return float(on_instance(((x * width, y * height) for x in steps for y in steps), instances).mean())


def pointed(hit: Hit, name: str, instances: Sequence[Instance]) -> float:
    """The share of a name's words whose region lies on an instance."""
    boxes = [word.box for word in hit.words if word.box and word.word.lower() in name.split()]
    return float(on_instance(map(centre, boxes), instances).sum()) / len(name.split())


def measure(engine: Engine, instances: Instances) -> list[Case]:
    """Every category in every photo that shows it."""
    regions = {}
    for place, id in enumerate(engine.ids):
        block, row = engine.gallery.find(place)
        regions[id] = block.boxes(row)
    cases = []
    for name, photos in instances.items():
        try:
            found = engine.search(with_article(name), top_k=len(engine), exhaustive=True)
            hits = {hit.image.id: hit for hit in found}
        except InputError:  # it has no word that the model knows
            hits = {}
        for id, own in photos.items():
            width, height = own[0].size
            cases.append(
                Case(
                    pointed(hits[id], name, own) if hits else 0.0,
                    float(on_instance([(width / 2, height / 2)], own)[0]),
                    covered(own),
                    float(on_instance(map(centre, regions[id].tolist()), own).any()),
                )
            )
    return cases


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser_of(__doc__, RESULTS).parse_args(arguments)
    with opened(options.folder, options.model) as engine:
        cases = measure(engine, read_instances(options.folder))
    measured: dict[str, object] = {}
    chosen = {"all": cases, "at most a quarter": [case for case in cases if case.chance <= SMALL]}
    print("| things | cases | explanation | middle | chance | ceiling |\n|---|---|---|---|---|---|")
    for kind, own in chosen.items():
        means = {name: round(float(mean), 4) for name, mean in zip(Case._fields, np.mean(own, axis=0), strict=True)}
        measured[kind] = {"cases": len(own), **means}
        print(f"| {kind} | {len(own)} | {' | '.join(f'{100 * mean:.1f} %' for mean in means.values())} |")
    write_report(options.report, read_report(options.report) | {options.row: {**measured, "recorded": recorded()}})


if __name__ == "__main__":
    main()
