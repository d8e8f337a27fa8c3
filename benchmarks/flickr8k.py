r"""The rows of docs/results.md and docs/experiments.md: train, export, index and evaluate on Flickr8k, as a user does.

    python benchmarks/flickr8k.py train --store F8K --view F8K_MIRRORED --view F8K_CROP1 --view F8K_CROP2 \
      --captions captions.tsv --word-vectors glove.gz --results mine.json
    python benchmarks/flickr8k.py test  --store F8K --captions captions.tsv --results mine.json

`train` goes on where it was stopped; rows that are done, or are among the results, are left alone. `test` evaluates
the trained rows on the test split, as they are and normalised by the training split's captions and photos (+querybank),
once each, into --results. These are benchmarks/results/flickr8k.json, which has the published rows: to train and test
them again, name a new file. `--rows` takes name patterns.
A row takes the first three of `--view`, but those named views8 the first seven (of --crop 3 and so on, every second
mirrored).
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from command import COMMAND
from provenance import recorded
from reports import read_report, write_report

RESULTS = Path(__file__).parent / "results" / "flickr8k.json"
SEEDS = (0, 1, 2)
BUDGET = ["--epochs", 12, "--dev-images", 500]  # the same for every row, but more views take more epochs
SCAN = ["--model", "scan", "--direction"]
TRIPLET: list[object] = ["--loss", "triplet", "--warmup-epochs", 6]
ROWS: dict[str, list[object]] = {
    **{f"shan-l2l-s{seed}": ["--steps", "l2l", "--seed", seed] for seed in SEEDS},
    **{f"shan-l2l-views8-s{seed}": ["--steps", "l2l", "--seed", seed, "--epochs", 16] for seed in SEEDS[:2]},
    **{f"shan-g2l-s{seed}": ["--steps", "l2l+g2l", "--seed", seed] for seed in SEEDS},
    **{f"shan-s{seed}": ["--seed", seed] for seed in SEEDS},
    **{f"shan-l2l-triplet-s{seed}": [*TRIPLET, "--steps", "l2l", "--seed", seed] for seed in SEEDS},
    **{f"shan-g2l-triplet-s{seed}": [*TRIPLET, "--steps", "l2l+g2l", "--seed", seed] for seed in SEEDS},
    **{f"shan-triplet-s{seed}": [*TRIPLET, "--seed", seed] for seed in SEEDS},
    "shan-t2i": ["--direction", "t2i"],
    "shan-i2t": ["--direction", "i2t"],
    "shan-l2l-512": ["--steps", "l2l", "--embed-dim", 512],  # of the form that is best at 256
    **{
        f"shan-l2l-512-views8-s{seed}": ["--steps", "l2l", "--embed-dim", 512, "--seed", seed, "--epochs", 14]
        for seed in SEEDS[:2]
    },
    "scan-t2i-lse": [*SCAN, "t2i", "--pooling", "lse"],
    "scan-t2i-mean": [*SCAN, "t2i", "--pooling", "mean"],
    "scan-i2t-lse": [*SCAN, "i2t", "--pooling", "lse"],
    "scan-i2t-lse4": [*SCAN, "i2t", "--pooling", "lse", "--temperature", 4, "--pooling-temperature", 5],  # SCAN's own
    "scan-i2t-mean": [*SCAN, "i2t", "--pooling", "mean", "--temperature", 4],
    "vse": ["--model", "vse", "--loss", "triplet", "--warmup-epochs", 1],
    "vse-warmup6": ["--model", "vse", *TRIPLET],
    "vse-contrastive": ["--model", "vse"],
    "tern": ["--model", "tern"],
}
ENSEMBLES = {
    "ensemble-l2l-s0-s1": ("shan-l2l-s0", "shan-l2l-s1"),
    "ensemble-l2l-views8": ("shan-l2l-views8-s0", "shan-l2l-views8-s1"),
    "ensemble-l2l-512-views8": ("shan-l2l-512-views8-s0", "shan-l2l-512-views8-s1"),
    "ensemble-s1-s2": ("shan-s1", "shan-s2"),
    "ensemble-t2i-i2t": ("shan-t2i", "shan-i2t"),
    "ensemble-scan": ("scan-t2i-mean", "scan-i2t-mean"),
}


def run(*arguments: object) -> None:
    print("$ shan-engine", *arguments, flush=True)
    subprocess.run([COMMAND, *map(str, arguments)], check=True)


def precision(run: Path) -> str | None:
    """What the row's encoders computed in while training; runs of before it was recorded have none."""
    last = (run / "metrics.jsonl").read_text().splitlines()[-1]
    precision: str | None = json.loads(last).get("precision")
    return precision


def train(options: argparse.Namespace) -> None:
    for name, settings in ROWS.items():
        folder = options.runs / name
        if not fnmatch(name, options.rows):
            continue
        if (folder / "done").exists() or name in read_report(options.results):
            print(f"{name} is left out: it is done or among {options.results} (--results)", flush=True)
            continue
        count = 7 if "views8" in name else 3
        if len(options.view) < count:
            print(f"{name} is left out: it takes {count} stores by --view", flush=True)
            continue
        views = [part for view in options.view[:count] for part in ("--view", view)]
        common = ["--captions", options.captions, "--word-vectors", options.word_vectors, "--output", folder]
        run("train", "--store", options.store, *views, *common, *BUDGET, *settings)
        (folder / "done").touch()


def test(options: argparse.Namespace) -> None:
    at = recorded()  # of the test; a row may have been trained by an earlier commit
    members = {name: (name,) for name in ROWS} | ENSEMBLES
    for name, parts in members.items():
        trained = all((options.runs / part / "done").exists() for part in parts)
        wanted = {name: [], f"{name}+querybank": ["--querybank", "train"]}
        tested = read_report(options.results)
        wanted = {k: v for k, v in wanted.items() if fnmatch(k, options.rows) and k not in tested}
        if not wanted or not trained:
            continue
        pairs: list[object] = []
        for part in parts:
            bundle, gallery = options.runs / part / "bundle", options.runs / part / "gallery"
            trained_at = (options.runs / part / "model.safetensors").stat().st_mtime
            if not bundle.exists() or bundle.stat().st_mtime < trained_at:
                info = json.loads(subprocess.check_output([COMMAND, "store", "info", options.store, "--json"]))
                extractor = ["--feature-extractor-name", info["feature_extractor"]]
                run("export", options.runs / part, "--output", bundle, "--overwrite", *extractor)
            run("index", options.store, "--model", bundle, "--output", gallery, "--storage", "float32")
            pairs += ["--gallery", gallery, "--model", bundle]
        for label, extra in wanted.items():
            command = ["evaluate", "--captions", options.captions, "--split", "test", *pairs, *extra, "--json"]
            found = json.loads(subprocess.check_output([COMMAND, *map(str, command)]))
            row = {
                **found,
                "recorded": at,
                "precision": [precision(options.runs / part) for part in parts],
            }
            # Read again: another row's test may have ended meanwhile.
            write_report(options.results, read_report(options.results) | {label: row}, indent=2)
            print(label, row["rsum"], flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("phase", choices=["train", "test"])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--view", type=Path, action="append", default=[])
    parser.add_argument("--captions", type=Path, required=True)
    parser.add_argument("--word-vectors", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/flickr8k"))
    parser.add_argument("--rows", default="*")
    parser.add_argument("--results", type=Path, default=RESULTS, help="a new file for figures of your own")
    options = parser.parse_args(arguments)
    if options.phase == "train" and options.word_vectors is None:
        parser.error("train needs --word-vectors")
    options.runs.mkdir(parents=True, exist_ok=True)
    (train if options.phase == "train" else test)(options)


if __name__ == "__main__":
    main()
