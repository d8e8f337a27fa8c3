"""Models side by side: recall, bytes a photo, milliseconds a query and pairs a second, after the same training.

    python benchmarks/models.py train --store F8K --captions captions.tsv --word-vectors glove.gz --runs RUNS
    python benchmarks/models.py test --store F8K --captions captions.tsv --runs RUNS
    python benchmarks/models.py measure --captions captions.tsv --runs RUNS

`train` goes on where it was stopped: seed 0 of every row, then the other seeds. `test` exports and indexes what is
trained, and measures recall over the first --images photos of split `test` with their captions, in exact scores of
all pairs: means of the seeds that are trained, and of their bootstrap intervals over photos. `measure` asks every
gallery in turn, so that a busy moment of the machine hits all rows. Its times are of the processor, with one thread.
Each writes into the report, and the table of docs/results.md from it. `shan-engine models` prints the report.

The bound of a pair scorer is its matrix products, at the speed of a large square product.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shan_engine
from command import folder_bytes, run
from numpy.typing import NDArray
from provenance import recorded
from reports import captions, read_report, write_report
from shan_engine.engine import Engine
from shan_engine.evaluation.evaluate import all_scores
from shan_engine.evaluation.recall import ranks
from shan_engine.gallery.images import Images
from shan_engine.locate import KEPT
from shan_engine.scoring.passes import CaptionBatches, pair_scores
from shan_engine.text.captions import CaptionTable

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "models.json", ROOT / "docs" / "results.md"
START, END = "<!-- models -->\n", "<!-- /models -->\n"
BUDGET = ["--epochs", 1, "--batch-size", 32, "--dev-images", 200, "--set", "average=0.99"]
SAID = "one epoch of 30,000 captions in batches of 32, no views, the contrastive loss, D = 256, seeds 0, 1 and 2"
SEEDS = 3
SGRAF = ["--model", "sgraf", "--set", "similarity_dim=64", "--set"]
ROWS: dict[str, list[object]] = {
    "shan-l2l": ["--model", "shan", "--steps", "l2l"],
    "scan-i2t": ["--model", "scan", "--direction", "i2t"],
    "chan": ["--model", "chan", "--set", "loss_temperature=1"],  # its scores are ten times a cosine
    "vse": ["--model", "vse"],
    "vse-infinity": ["--model", "vse-infinity"],
    "esa": ["--model", "esa"],
    "sgraf-saf": [*SGRAF, "module=saf"],
    "sgraf-sgr": [*SGRAF, "module=sgr"],
}
ENSEMBLES = {"sgraf": ("sgraf-saf", "sgraf-sgr")}
FIRST = "shan-l2l"  # what the others' times are compared with
SCORED, TOGETHER = 256, 32  # photos and captions of one measurement of pairs
K = 36


class Taken(NamedTuple):
    """Processor seconds of a query, of a pair, and of the bound of a pair; what has no pair scorer has no bound."""

    query: float
    pair: float
    bound: float


def train(options: argparse.Namespace) -> None:
    source = ["--store", options.store, "--captions", options.captions, "--word-vectors", options.word_vectors]
    for seed in range(SEEDS):
        for name, settings in ROWS.items():
            folder = run_of(options, name, seed)
            if not (folder / "done").exists():
                run("train", *source, "--output", folder, *BUDGET, "--seed", seed, *settings, threads=1)
                (folder / "done").touch()


def run_of(options: argparse.Namespace, name: str, seed: int = 0) -> Path:
    """The folder of a training."""
    return Path(options.runs / (f"{name}-s{seed}" if seed else name))


def test(options: argparse.Namespace) -> None:
    split = CaptionTable.read(options.captions).split("test").images_between(0, options.images)
    for name in [*ROWS, *ENSEMBLES]:
        runs = [[run_of(options, member, seed) for member in ENSEMBLES.get(name, (name,))] for seed in range(SEEDS)]
        runs = [members for members in runs if all((member / "done").exists() for member in members)]
        if not runs or len(row_of(options, name).get("recall", {}).get("seeds", [])) == len(runs):
            continue
        found = []
        for members in runs:
            scores = np.mean([scores_of(options, member, split) for member in members], axis=0)
            found.append(ranks(scores.T, split.caption_images))
        of_seeds = [places.recall().as_dict() for places in found]
        recall: dict[str, Any] = {key: statistics.mean(one[key] for one in of_seeds) for key in of_seeds[0]}
        recall["seeds"] = [one["rsum"] for one in of_seeds]
        bounds = [places.intervals() for places in found]
        recall["intervals_95"] = {
            key: [statistics.mean(one[key][side] for one in bounds) for side in (0, 1)] for key in bounds[0]
        }
        add(options, name, {"recall": {**recall, "recorded": recorded()}})
        print(name, *recall["seeds"], flush=True)


def scores_of(options: argparse.Namespace, folder: Path, split: Any) -> NDArray[np.float32]:
    """Scores captions x images of a training, kept in its folder."""
    kept = folder / "scores.npy"
    if not kept.exists():
        if not (folder / "gallery" / "manifest.json").exists():
            bundle = ["--output", folder / "bundle", "--overwrite", "--feature-extractor-name", extractor(options)]
            run("export", folder, *bundle)
            run("index", options.store, "--model", folder / "bundle", "--output", folder / "gallery", threads=1)
        engine = opened(folder)
        np.save(kept, all_scores(engine.scorer, engine.gallery, split.images, split.captions))
    return np.asarray(np.load(kept))


def extractor(options: argparse.Namespace) -> str:
    from shan_engine.store.feature_store import FeatureStore

    with FeatureStore.open(options.store) as store:
        return str(store.schema.feature_extractor)


def opened(folder: Path) -> Engine:
    return shan_engine.open(folder / "gallery", folder / "bundle", device="cpu")


def measure(options: argparse.Namespace) -> None:
    queries = captions(options.captions, options.rounds + TOGETHER + 1)
    names = [name for name in ROWS if (options.runs / name / "gallery" / "manifest.json").exists()]
    if not names:
        raise SystemExit(f"nothing is trained and tested in {options.runs}: run the phases train and test first")
    engines = {name: opened(run_of(options, name)) for name in names}
    taken: dict[str, list[Taken]] = {name: [] for name in names}
    for number in range(options.rounds + 1):
        for name, engine in engines.items():
            found = measured(engine, queries[number], queries[-TOGETHER:])
            if number:  # the first loads what is loaded once
                taken[name].append(found)
    for name, engine in engines.items():
        folder = options.runs / name / "gallery"
        size = folder_bytes(folder) - folder_bytes(folder / KEPT)  # the bundle that made it
        add(options, name, {"bytes_a_photo": round(size / len(engine)), **figures(taken[name], taken.get(FIRST))})
    for name, members in ENSEMBLES.items():
        if all(member in names for member in members):
            rows = [row_of(options, member) for member in members]
            pairs = 1 / sum(1 / row["pairs_per_second"] for row in rows)
            whole = {key: sum(row[key] for row in rows) for key in ("bytes_a_photo", "ms_a_query")}
            add(options, name, {**whole, "pairs_per_second": round(pairs)})
    report = read_report(options.report)
    write_report(options.report, {**report, "photos": len(next(iter(engines.values()))), "recorded": recorded()})


def measured(engine: Engine, query: str, together: Sequence[str]) -> Taken:
    """One round of a row."""
    scorer = engine.scorer
    batch = CaptionBatches.encode(scorer.encoders, [scorer.encoders.tokens(caption) for caption in together])
    words = float(np.mean([len(scorer.encoders.tokens(caption)) for caption in together]))
    images, stop = Images([engine.gallery]), min(SCORED, len(engine))
    asked = seconds(lambda: engine.search(query, explain=False))
    pairs = seconds(lambda: list(pair_scores(scorer, images, batch, stop=stop))) / (stop * len(together))
    flops = products(scorer.bundle.manifest.model, words)
    side = np.ones((768, 768), np.float32)
    return Taken(asked, pairs, flops * seconds(lambda: side @ side) / (2 * 768**3))


def products(model: dict[str, Any], n: float) -> float:
    """Operations of the matrix products of a pair of K regions and n words; 0 where each side is one vector."""
    kind, dim = model["model"], float(model["embed_dim"])
    cosines, by_regions, by_words = 2 * K * n * dim, 2 * K * K * n, 2 * K * n * n  # of all pairs; by Gram matrices
    if kind == "scan":
        return cosines + (by_words if model["direction"] == "i2t" else by_regions)
    if kind == "shan":
        return cosines + by_regions + by_words  # step 1
    if kind == "sgraf":
        wholes_and_words = 2 * (n + 1) * dim * float(model["similarity_dim"])
        return 2 * cosines + by_regions + wholes_and_words + of_similarities(model, n + 1)
    return cosines if kind == "chan" else 0.0


def of_similarities(model: dict[str, Any], rows: float) -> float:
    """Operations of what SGRAF makes of a pair's similarity vectors, a number of `rows`."""
    size = float(model["similarity_dim"])
    if model["module"] == "saf":
        return 4 * rows * size
    step = 6 * rows * size**2 + 4 * rows**2 * size
    last = 2 * rows * size**2 + 4 * size**2 + 4 * rows * size  # of the first row alone
    return (float(model["reasoning_steps"]) - 1) * step + last


def seconds(work: Callable[[], Any]) -> float:
    """Processor seconds."""
    began = time.process_time()
    work()
    return time.process_time() - began


def figures(taken: list[Taken], first: list[Taken] | None) -> dict[str, Any]:
    """Medians, and medians of ratios within a round."""
    found: dict[str, Any] = {
        "ms_a_query": round(1000 * statistics.median(one.query for one in taken), 1),
        "pairs_per_second": round(1 / statistics.median(one.pair for one in taken)),
    }
    if first:
        found["times_shan"] = round(
            statistics.median(one.query / other.query for one, other in zip(taken, first, strict=True)), 2
        )
    if all(one.bound for one in taken):
        found["share_of_bound"] = round(statistics.median(one.bound / one.pair for one in taken), 3)
    return found


def row_of(options: argparse.Namespace, name: str) -> dict[str, Any]:
    held: dict[str, Any] = read_report(options.report).get("rows", {}).get(name, {})
    return held


def add(options: argparse.Namespace, name: str, figures: dict[str, Any]) -> None:
    """Put figures into the report, its rows in the order of the table."""
    report = read_report(options.report)
    said = " ".join(map(str, ROWS[name])) if name in ROWS else f"{' and '.join(ENSEMBLES[name])}, scores averaged"
    rows = report.get("rows", {})
    rows[name] = {**rows.get(name, {}), "settings": said, **figures}
    ordered = {key: rows[key] for key in [*ROWS, *ENSEMBLES] if key in rows}
    protocol = f"Flickr8k's photos; {SAID}."
    write_report(options.report, {**report, "protocol": protocol, "rows": ordered}, indent=2)


def table(report: dict[str, Any]) -> list[str]:
    """The lines of docs/results.md."""
    names = ["row", "text retrieval R@1/5/10", "image retrieval R@1/5/10", "rSum", "its seeds", "bytes a photo"]
    names += ["ms a query (times SHAN's)", "pairs/s (share of the bound)"]
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for name, row in report["rows"].items():
        recall = row.get("recall")
        cells = ["not measured"] * 4
        if recall:
            sides = ("text_retrieval", "image_retrieval")
            cells = ["/".join(f"{recall[f'{side}_r{cut}']:.1f}" for cut in (1, 5, 10)) for side in sides]
            low, high = recall["intervals_95"]["rsum"]
            cells.append(f"{recall['rsum']:.1f} ({low:.1f} to {high:.1f})")
            cells.append(" to ".join(f"{edge(recall['seeds']):.1f}" for edge in (min, max)))
        query, pairs = f"{row['ms_a_query']:.1f}", f"{row['pairs_per_second']:,}"
        query += f" ({row['times_shan']:g})" if "times_shan" in row else ""
        pairs += f" ({100 * row['share_of_bound']:.0f} %)" if "share_of_bound" in row else ""
        size = f"{row['bytes_a_photo']:,}"
        lines.append(f"| `{name}` | {' | '.join([*cells, size, query, pairs])} |")
    return lines


def write_page(report: dict[str, Any]) -> None:
    before, _, rest = PAGE.read_text("utf-8").partition(START)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + START + "\n".join(table(report)) + "\n" + END + after, "utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("phase", choices=["train", "test", "measure", "page"])
    parser.add_argument("--store", type=Path)
    parser.add_argument("--captions", type=Path, default=Path("../shared/flickr8k/captions.tsv"))
    parser.add_argument("--word-vectors", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/models"))
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--report", type=Path, default=RESULTS, help="the page is written for the default one alone")
    options = parser.parse_args(arguments)
    if options.phase in ("train", "test") and options.store is None:
        parser.error(f"{options.phase} needs --store")
    if options.phase == "train" and options.word_vectors is None:
        parser.error("train needs --word-vectors")
    phases: dict[str, Callable[[argparse.Namespace], None]] = {"train": train, "test": test, "measure": measure}
    if options.phase in phases:
        phases[options.phase](options)
    if options.report == RESULTS and options.phase in ("measure", "page"):
        write_page(read_report(options.report))


if __name__ == "__main__":
    main()
