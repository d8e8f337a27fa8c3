"""What the benchmarks share: reports that a kill leaves whole, and captions to ask with."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
from shan_engine.base.files import replacing
from shan_engine.locate import demo_bundle
from shan_engine.text.captions import CaptionTable
from shan_model.training.phrases import Phrases


def read_report(path: Path) -> dict[str, Any]:
    """What a report holds; nothing where there is none yet."""
    held: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return held


def write_report(path: Path, report: dict[str, Any], indent: int = 1) -> None:
    """Put a report in the place of the one that is there."""
    with replacing(path) as fresh:
        fresh.write_text(json.dumps(report, indent=indent) + "\n", "utf-8")


def demo_queries() -> list[str]:
    """The thirty queries of docs/demo.md."""
    lines = (demo_bundle().parent / "queries.tsv").read_text("utf-8").splitlines()[1:]
    return [line.split("\t")[0] for line in lines]


def captions(table: Path, count: int) -> list[str]:
    """So many captions of a table where it is there, else of the demo's queries, repeated."""
    texts = [row[2] for row in CaptionTable.read(table).rows] if table.exists() else demo_queries()
    return list(itertools.islice(itertools.cycle(texts), count))


def queries_of(captions: Path | None, count: int, split: str = "test") -> list[str]:
    """So many captions of a split, evenly from the table; without a table, the demo's queries."""
    if captions is None:
        return demo_queries()[:count]
    found = CaptionTable.read(captions).split(split).captions
    return list(found[:: max(1, len(found) // count)])[:count]


def short_queries_of(captions: Path, count: int, split: str = "test") -> list[str]:
    """So many different short queries, each cut at random from a caption of a split, evenly from the table."""
    held = CaptionTable.read(captions).split(split)
    phrases, random = Phrases(held), np.random.default_rng(0)
    cut = (phrases.cut(caption, random) for caption in range(len(held.captions)))
    found = list(dict.fromkeys(phrase.text.lower() for phrase in cut if phrase))
    return found[:: max(1, len(found) // count)][:count]
