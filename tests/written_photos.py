"""Stores of the tiny bundle whose photos have something written in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from shan_engine.base.text_lines import TextLine
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.images import BlockSizes, index_store
from shan_engine.scoring.scorer import Scorer
from shan_engine.store.feature_store import FeatureStore
from tiny import make_store

SIZES = BlockSizes(64, staged_from=100)
TEXTS = {
    "photo3": ["BUDGET 2024", "Total 1O0.50"],
    "photo20": ["Hardware Store", "receipt no. 42"],
    "photo21": ["2024 budget of the school"],
    "photo70": ["DOG"],
    "photo100": ["東京都庁", "Café Müller"],
    "photo119": ["hardware"],
}


def lines_of(*texts: str) -> tuple[TextLine, ...]:
    """Lines one below the other."""
    return tuple(TextLine(text, 0.9, (10.0, 20.0 * row, 90.0, 20.0 * row + 18)) for row, text in enumerate(texts))


def write_texts(store: Path, texts: Mapping[str, Sequence[str]]) -> None:
    """Put lines into a store."""
    with FeatureStore.open(store, readonly=False) as held:
        held.put_text({id: lines_of(*own) for id, own in texts.items()}, reader="test 1")


def indexed(store: Path, scorer: Scorer, output: Path) -> Gallery:
    """A gallery in small blocks, searched in stages."""
    with FeatureStore.open(store) as held:
        index_store(held, scorer, output, sizes=SIZES)
    return Gallery.open(output, scorer.bundle)


def written_gallery(folder: Path, scorer: Scorer, photos: int = 120) -> Gallery:
    """A `gallery` of a `store` in a folder, with `TEXTS`."""
    make_store(folder / "store", range(photos)).close()
    write_texts(folder / "store", TEXTS)
    return indexed(folder / "store", scorer, folder / "gallery")
