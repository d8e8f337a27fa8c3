"""How well a model finds photos unlike those it was trained on: captions, and names of categories.

    python benchmarks/transfer.py FOLDER                        # the demo's bundle
    python benchmarks/transfer.py FOLDER --model B --row "new"

FOLDER holds photos/, captions.tsv (split, image, caption) and boxes.tsv (image, category, x0, y0, x1, y1, width,
height, in pixels). The photos are extracted and indexed into a temporary folder, by the bundle's own extractor.

Recall is that of `shan-engine evaluate`, both ways. A category's name is asked as "dog" and as "a dog" ("an apple");
all photos that show an instance are right. Average precision ranks all photos. A name without any word that the model
knows has a precision of 0. The figures go into --report under the name --row.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from csv import DictReader
from pathlib import Path
from typing import NamedTuple

import numpy as np
import shan_engine
from command import run
from provenance import recorded
from reports import read_report, write_report
from shan_engine.engine import Engine
from shan_engine.locate import demo_bundle
from shan_engine.text.captions import CaptionTable
from unseen import answer

RESULTS = Path(__file__).parent / "results" / "transfer.json"


class Instance(NamedTuple):
    """A category's box in a photo, in pixels, and the photo's width and height."""

    box: tuple[float, float, float, float]
    size: tuple[float, float]


Instances = dict[str, dict[str, list[Instance]]]


def read_instances(folder: Path) -> Instances:
    """The instances of each category and photo."""
    found: Instances = defaultdict(lambda: defaultdict(list))
    with (folder / "boxes.tsv").open(encoding="utf-8", newline="") as file:
        for row in DictReader(file, delimiter="\t"):
            x0, y0, x1, y1, width, height = (float(row[name]) for name in ("x0", "y0", "x1", "y1", "width", "height"))
            found[row["category"]][row["image"]].append(Instance((x0, y0, x1, y1), (width, height)))
    return found


def with_article(name: str) -> str:
    """A category's name as people ask for it."""
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


@contextmanager
def opened(folder: Path, model: Path) -> Iterator[Engine]:
    """An engine over the folder's photos, extracted and indexed for a while."""
    with tempfile.TemporaryDirectory() as work:
        store, gallery = Path(work) / "store", Path(work) / "gallery"
        run("extract", folder / "photos", "--store", store, "--model", model)
        run("index", store, "--output", gallery, "--model", model)
        with shan_engine.open(gallery, model, device="cpu") as engine:
            yield engine


def parser_of(about: str | None, report: Path) -> argparse.ArgumentParser:
    """Options of the benchmarks over such a folder."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="photos/, captions.tsv and boxes.tsv")
    parser.add_argument(
        "--model", type=Path, default=demo_bundle(), help="bundle with an extractor; default: the demo's"
    )
    parser.add_argument("--row", default="demo", help="name of the figures in the report")
    parser.add_argument("--report", type=Path, default=report)
    return parser


def mean_precision(engine: Engine, asked: dict[str, set[str]]) -> float:
    """Mean average precision of queries, each with its right photos."""
    return float(np.mean([answer(engine, query, right).precision for query, right in asked.items()]))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__, RESULTS)
    parser.add_argument("--split", default="dev", help="split of captions.tsv")
    options = parser.parse_args(arguments)
    right = {category: set(photos) for category, photos in read_instances(options.folder).items()}
    with opened(options.folder, options.model) as engine:
        evaluation = engine.evaluate(CaptionTable.read(options.folder / "captions.tsv"), options.split)
        names = mean_precision(engine, right)
        articles = mean_precision(engine, {with_article(name): photos for name, photos in right.items()})
        images = len(engine)
    found = evaluation.recall
    print(f"{images} photos, {evaluation.captions} captions, {len(right)} categories")
    print(f"rSum {found.rsum:.1f}, text to image R@1 {found.image_retrieval[0]:.1f} %")
    print(f'mean average precision of names: "dog" {names:.3f}, "a dog" {articles:.3f}')
    measured = {
        "images": images,
        "captions": evaluation.captions,
        "categories": len(right),
        **found.as_dict(),
        "mean_average_precision": {"dog": round(names, 4), "a dog": round(articles, 4)},
        "recorded": recorded(),
    }
    write_report(options.report, read_report(options.report) | {options.row: measured})


if __name__ == "__main__":
    main()
