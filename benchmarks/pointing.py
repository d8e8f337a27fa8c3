"""Whether an explanation points at the thing: the region named for a word lies on what the word means.

    python benchmarks/pointing.py FOLDER                        # the demo's bundle
    python benchmarks/pointing.py FOLDER --model B --row "new"
    python benchmarks/pointing.py FOLDER --fine                 # and the regions of `search --fine-regions`

FOLDER is as for benchmarks/transfer.py. A case is a category and a photo that shows it. The category is asked as
"a dog" or "an apple". A hit means that the centre of the region that the explanation names lies on an instance's box.
A name of several words counts by the share of its words; a word that is not explained counts as a miss.

Beside it stand the photo's middle; chance, which is the share of the photo that the boxes cover; and the ceiling,
where any region's centre lies on a box. All are given for all cases, and for things on at most a quarter of the photo.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from provenance import recorded
from reports import read_report, write_report
from shan_engine.base.errors import InputError
from shan_engine.engine import Engine
from shan_engine.search.fine_map import VIEWS, PhotoViews, pointers_of
from shan_engine.search.photo_query import open_extractor
from shan_engine.search.query import Query
from shan_engine.search.results import Hit
from transfer import Instance, Instances, opened, parser_of, read_instances, with_article

RESULTS = Path(__file__).parent / "results" / "pointing.json"
SMALL = 0.25
SAMPLES = 200  # a side, for the share of a photo that boxes cover


class Case(NamedTuple):
    """One category in one photo: shares of hits, 0 to 1."""

    explanation: float
    fine: float
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


def measure(engine: Engine, instances: Instances, views: Mapping[str, PhotoViews]) -> list[Case]:
    """Every category in every photo that shows it; fine regions come from the photos' `views`, NaN without."""
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
        pointers = pointers_of(engine.scorer, Query.of(with_article(name))) if hits and views else []
        for id, own in photos.items():
            peaks = tuple(found.peak for pointer in pointers for found in views[id].maps(pointer))
            width, height = own[0].size
            cases.append(
                Case(
                    pointed(hits[id], name, own) if hits else 0.0,
                    pointed(replace(hits[id], words=peaks), name, own) if peaks else 0.0 if views else float("nan"),
                    float(on_instance([(width / 2, height / 2)], own)[0]),
                    covered(own),
                    float(on_instance(map(centre, regions[id].tolist()), own).any()),
                )
            )
    return cases


def read_views(engine: Engine, photos: Path, instances: Instances) -> tuple[dict[str, PhotoViews], int]:
    """The views of every photo that shows something, and how many milliseconds one photo takes."""
    network = open_extractor(engine.scorer.bundle, None, "cpu")
    wanted = sorted({id for found in instances.values() for id in found})
    start = perf_counter()
    views = {id: PhotoViews.read(photos / id, engine.scorer.encoders, network) for id in wanted}
    return views, round(1000 * (perf_counter() - start) / len(wanted))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__, RESULTS)
    parser.add_argument("--fine", action="store_true", help="measure regions found in the photo itself, too")
    options = parser.parse_args(arguments)
    instances, views = read_instances(options.folder), dict[str, PhotoViews]()
    measured: dict[str, object] = {}
    with opened(options.folder, options.model) as engine:
        if options.fine:
            views, measured["milliseconds a photo"] = read_views(engine, options.folder / "photos", instances)
            print(f"{len(VIEWS)} views take {measured['milliseconds a photo']} ms a photo")
        cases = measure(engine, instances, views)
    chosen = {"all": cases, "at most a quarter": [case for case in cases if case.chance <= SMALL]}
    print("| things | cases | explanation | fine | middle | chance | ceiling |\n|---|---|---|---|---|---|---|")
    for kind, own in chosen.items():
        shares = zip(Case._fields, np.mean(own, axis=0), strict=True)
        means = {name: round(float(mean), 4) for name, mean in shares if not np.isnan(mean)}
        measured[kind] = {"cases": len(own), **means}
        cells = [f"{100 * means[name]:.1f} %" if name in means else "" for name in Case._fields]
        print(f"| {kind} | {len(own)} | {' | '.join(cells)} |")
    write_report(options.report, read_report(options.report) | {options.row: {**measured, "recorded": recorded()}})


if __name__ == "__main__":
    main()
