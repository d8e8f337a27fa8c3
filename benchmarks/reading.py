"""How well and how fast the text of photos is read: word recall and precision by kind, and seconds a photo.

    python benchmarks/written_words.py WORDS --fonts FONTS
    python benchmarks/reading.py WORDS… [--photos FOLDER] [--ways "two looks" whole tesseract] [--report FILE]

WORDS are test sets: of `written_words.py`, `written_pages.py` or `screenshots.py`, or real_text beside this file, which
has photos and scans. FOLDER has photos without text (default: some of the demo's). Ways to read them: `two looks` is
what `extract --read-text` does; `whole` is the package `rapidocr` as it comes, over the whole photo; `tesseract` is
that program with its English model, where it is installed.

A word counts once, without regard to case; each Chinese, Japanese or Korean character is a word. `in_order` is the
share of pairs of neighbouring words that are read one after the other. Seconds are those of processors: two idle cores
read two photos at a time. `least` has the figures for other least confidences.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from PIL import Image
from provenance import recorded
from reports import write_report
from shan_engine.locate import demo_bundle
from shan_engine.photos import text_reader
from shan_engine.photos.text_reader import TextReader

RESULTS = Path(__file__).parent / "results" / "reading.json"
LEAST = (0.5, 0.6, 0.7, 0.8, 0.9)
Lines = list[tuple[str, float]]
Way = Callable[[Path], Lines]


def two_looks() -> Way:
    reader = TextReader(least_confidence=min(LEAST))
    return lambda path: [(line.text, line.confidence) for line in reader(path).lines]


def whole() -> Way:
    import rapidocr

    engine = rapidocr.RapidOCR(
        params={"Global.log_level": "critical", "EngineConfig.onnxruntime.intra_op_num_threads": 1}
    )

    def read(path: Path) -> Lines:
        found: Any = engine(str(path))
        return list(zip(found.txts or (), found.scores or (), strict=True))

    return read


def tesseract() -> Way:
    def read(path: Path) -> Lines:
        done = subprocess.run(
            ["tesseract", str(path), "-", "--psm", "11"], capture_output=True, text=True, encoding="utf-8", check=True
        )
        return [(line, 1.0) for line in done.stdout.splitlines() if line.strip()]

    return read


WAYS: dict[str, Callable[[], Way]] = {
    "two looks": two_looks,
    "whole": whole,
    "tesseract": tesseract,
}


def words(lines: Sequence[str]) -> list[str]:
    """The words of lines, in order."""
    found: list[str] = []
    for word in " ".join(lines).split():
        wide = [
            letter
            for letter in word
            if unicodedata.name(letter, "").startswith(("CJK", "HIRAGANA", "KATAKANA", "HANGUL"))
        ]
        found += wide or [unicodedata.normalize("NFC", word).lower()]
    return found


def alike(found: Iterable[Any], wanted: Iterable[Any]) -> int:
    """How many of the wanted are found, each as often as it is there."""
    return (Counter(found) & Counter(wanted)).total()


def cpu_seconds() -> float:
    """Of this process and the programs that it has run."""
    import resource

    kinds = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, kinds))


def timed(read: Way, path: Path) -> tuple[Lines, float]:
    began = cpu_seconds()
    return read(path), cpu_seconds() - began


def measured(way: str, rows: Sequence[dict[str, object]], blank: Sequence[Path]) -> dict[str, object]:
    read = WAYS[way]()
    read(Path(str(rows[0]["file"])))  # loads the graphs
    kinds: dict[str, dict[str, list[float]]] = {}
    hits: dict[float, list[int]] = {least: [0, 0, 0] for least in LEAST}
    for row in rows:
        found, seconds = timed(read, Path(str(row["file"])))
        wanted = words([str(line) for line in row["lines"]])  # type: ignore[attr-defined]
        kind = kinds.setdefault(
            str(row["kind"]), {name: [] for name in ("right", "wanted", "read", "pairs", "seconds")}
        )
        for least in LEAST:
            got = words([text for text, confidence in found if confidence >= least])
            counts = alike(got, wanted), len(wanted), len(got)
            if least == DEFAULT:
                for name, value in zip(("right", "wanted", "read"), counts, strict=True):
                    kind[name].append(value)
                kind["pairs"].append(alike(pairwise(got), pairwise(wanted)))
            hits[least] = [a + b for a, b in zip(hits[least], counts, strict=True)]
        kind["seconds"].append(seconds)
        print(
            f"{way}: {Path(str(row['file'])).name} {kind['right'][-1]} of {len(wanted)} words, "
            f"{kind['pairs'][-1]} pairs, {seconds:.2f} s",
            flush=True,
        )
    empty = [timed(read, path) for path in blank]
    return {
        "kinds": {
            name: {
                "recall": round(sum(kind["right"]) / sum(kind["wanted"]), 3),
                "precision": round(sum(kind["right"]) / max(1, sum(kind["read"])), 3),
                "in_order": round(sum(kind["pairs"]) / max(1, sum(kind["wanted"]) - len(kind["wanted"])), 3),
                "cpu_seconds": round(statistics.mean(kind["seconds"]), 2),
            }
            for name, kind in kinds.items()
        },
        "least": {
            str(least): {"recall": round(right / wanted, 3), "precision": round(right / max(1, got), 3)}
            for least, (right, wanted, got) in hits.items()
        },
        "without_text": {
            "photos": len(empty),
            "cpu_seconds": round(statistics.mean(seconds for _, seconds in empty), 2) if empty else None,
            "false_words": {
                str(least): sum(
                    len(words([text for text, confidence in lines if confidence >= least])) for lines, _ in empty
                )
                for least in LEAST
            },
        },
    }


def test_set(folder: Path) -> list[dict[str, object]]:
    """The rows of a test set's words.json, each with the whole path of its `file`."""
    rows = json.loads((folder / "words.json").read_text("utf-8"))
    return [{**row, "file": str(folder / row["file"])} for row in rows]


DEFAULT = text_reader.LEAST_CONFIDENCE


def twelve_megapixels(photos: Sequence[Path], folder: Path) -> list[Path]:
    """The photos as a phone takes them, 4,000 pixels wide or high."""
    made = []
    for path in photos:
        with Image.open(path) as opened:
            scale = 4000 / max(opened.size)
            large = opened.convert("RGB").resize((round(opened.width * scale), round(opened.height * scale)))
        made.append(folder / path.with_suffix(".jpg").name)
        large.save(made[-1], quality=90)
    return made


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", type=Path, nargs="+")
    parser.add_argument("--photos", type=Path, help="photos without text")
    parser.add_argument("--blank", type=int, default=16, help="so many of them")
    parser.add_argument("--every", type=int, default=1, help="take every second, third, … photo of WORDS")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["two looks"])
    parser.add_argument("--report", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    rows = [row for folder in given.words for row in test_set(folder)[:: given.every]]
    photos = sorted((given.photos or demo_bundle().parent / "photos").glob("*.jpg"))
    photos = photos[:: max(1, len(photos) // max(1, given.blank))][: given.blank]
    ways = [way for way in given.ways if way != "tesseract" or shutil.which("tesseract")]
    with tempfile.TemporaryDirectory() as folder:
        blank = twelve_megapixels(photos, Path(folder))
        report: dict[str, Any] = {"photos": len(rows), "ways": {}, "recorded": recorded()}
        for way in ways:
            report["ways"][way] = measured(way, rows, blank)
            write_report(given.report, report)


if __name__ == "__main__":
    main()
