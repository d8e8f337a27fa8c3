"""Whether two trees give the same results: search, score, evaluate and captions of a photo, byte by byte.

    python benchmarks/pinned.py --against TREE [--queries FILE]

Both trees answer with this one's demo, so that paths are equal; --gallery and --model name others. Left out of the
comparison are seconds, and what is made of them. Numbers that differ by at most 1e-6 are counted: rounding depends on
how many pairs a call has. Exits with 1 where anything else differs, and says how.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from provenance import ROOT, commit
from shan_engine.gallery.reader import Gallery
from shan_engine.locate import demo_bundle

PACKAGES = ("model", "export", "engine", "cli")
ASKED = ("queries.txt", "captions.tsv")
CLOSE = 1e-6
TIMES = ("seconds", "pairs_per_second")
QUERIES = (
    "a dog on grass",
    "a white duck",
    "a hammer",
    "two red fish in water",
    "a windmill in a field with a blue sky",
    "the giraffe",
)
CAPTIONS = ("a dog on grass", "a white duck", "a hammer", "red fish", "a windmill")


def commands(photo: str) -> dict[str, tuple[str, ...]]:
    """By file that holds the result: the command's words. A command without `--output` prints it."""
    ask, score = ("search", "--queries", "queries.txt", "-k", "7", "--json"), ("score", "--queries", "queries.txt")
    return {
        "search.json": ask,
        "search-onnx.json": ask,  # with SHAN_KERNEL=off
        "phrases.json": ("search", "a dog", "--with", "on grass:0.5", "--without", "snow", "-k", "5", "--json"),
        "photo.json": ("search", "--image", photo, "-k", "5", "--json"),
        "where.json": ("search", "a boat", "--where", "width > height", "-k", "5", "--json"),
        "scores.npy": (*score, "--output", "scores.npy"),
        "hits.parquet": (*score, "-k", "5", "--output", "hits.parquet"),
        "texts.parquet": (*score, "-k", "2", "--direction", "image-to-text", "--output", "texts.parquet"),
        "evaluate.json": ("evaluate", "--captions", "captions.tsv", "--split", "test", "--json"),
        "index-captions.txt": ("index-captions", "queries.txt", "--output", "captions.gallery"),
        "captions.json": ("search", "--image", photo, "--gallery", "captions.gallery", "--json"),
    }


def answer(
    tree: Path, work: Path, gallery: Path, model: Path, queries: Sequence[str], only: Sequence[str] | None
) -> None:
    """Run every command with a tree's code; results are files in `work`."""
    work.mkdir()
    (work / "queries.txt").write_text("".join(f"{query}\n" for query in queries), "utf-8")
    images = sorted((image for block in Gallery.open(gallery).blocks for image in block.images), key=lambda x: x.id)
    rows = [f"test\t{image.id}\t{CAPTIONS[n % 5]} {n % 7}" for n, image in enumerate(images * 2)]
    (work / "captions.tsv").write_text("\n".join(["split\timage\tcaption", *rows]) + "\n", "utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(tree / package) for package in PACKAGES),
        "SHAN_GALLERY": str(gallery),
        "SHAN_MODEL": str(model),
    }
    for name, words in commands(images[2].path).items():
        if only and name not in only:
            continue
        kernel = {"SHAN_KERNEL": "off"} if name == "search-onnx.json" else {}
        command = [sys.executable, "-m", "shan_cli", *words]
        done = subprocess.run(command, cwd=work, env=environment | kernel, capture_output=True, check=False)
        if done.returncode:
            raise SystemExit(f"{tree}: shan-engine {' '.join(words)}\n{done.stderr.decode()}")
        if "--output" not in words:
            (work / name).write_bytes(done.stdout)


def timeless(value: Any) -> Any:
    """A JSON value without what differs between two runs."""
    if isinstance(value, Mapping):
        return {key: timeless(part) for key, part in value.items() if key not in TIMES}
    return [timeless(part) for part in value] if isinstance(value, list) else value


def differences(one: Any, other: Any, place: str = "") -> Iterator[str | float]:
    """Where two JSON values differ and how; of numbers that are close, their difference alone."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from differences(one.get(key), other.get(key), f"{place}/{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, parts in enumerate(zip(one, other, strict=True)):
            yield from differences(*parts, f"{place}/{number}")
    elif isinstance(one, float) and isinstance(other, float) and 0 < abs(one - other) <= CLOSE:
        yield one - other
    elif one != other:
        yield f"{place}: {one} and {other}"


def compare(one: Path, other: Path) -> list[str | float]:
    """What differs between two results, as of `differences`."""
    if one.suffix == ".json":
        own, theirs = (timeless(json.loads(path.read_text("utf-8"))) for path in (one, other))
        found = list(differences(own, theirs))
        return found if found or json.dumps(own) == json.dumps(theirs) else ["the order of keys differs"]
    if one.read_bytes() == other.read_bytes():
        return []
    if one.suffix == ".npy":
        return [f"scores differ by {np.abs(np.load(one) - np.load(other)).max():.1e} at most"]
    return ["bytes differ"]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, required=True, help="another checkout, with its kernel built")
    parser.add_argument("--queries", type=Path, help="text file, one query a line")
    parser.add_argument("--gallery", type=Path, default=demo_bundle().parent / "gallery")
    parser.add_argument("--model", type=Path, default=demo_bundle())
    parser.add_argument("--only", nargs="+", help="names of results, of those that are printed")
    options = parser.parse_args(arguments)
    queries = options.queries.read_text("utf-8").splitlines() if options.queries else QUERIES
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        this, against = Path(temporary) / "this", Path(temporary) / "against"
        for tree, work in ((ROOT, this), (options.against.resolve(), against)):
            answer(tree, work, options.gallery.resolve(), options.model.resolve(), queries, options.only)
        print(f"{commit(ROOT)} and {commit(options.against)}")
        names = [path.name for path in sorted(this.iterdir()) if path.is_file() and path.name not in ASKED]
        for name in names:
            missing: list[str | float] = ["is missing there"]
            found = compare(this / name, against / name) if (against / name).exists() else missing
            close = [abs(part) for part in found if isinstance(part, float)]
            other = [part for part in found if isinstance(part, str)]
            failed += bool(other)
            near = f"the same, {len(close)} numbers within {max(close):.0e}" if close else "the same"
            print(f"{name}: {'; '.join(other[:5]) or near}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
