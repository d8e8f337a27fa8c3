"""docs/demo.jpg: six queries on the demo gallery, their first five photos, and where words of the query look.

    python benchmarks/pictures.py

A map is a word's attention over the 36 regions of the first photo, brighter where it is larger.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from shan_engine.bundle.contents import Bundle
from shan_engine.gallery.reader import Gallery
from shan_engine.locate import locate_gallery
from shan_engine.photos.decode import decode_photo, resize
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.answer import search
from shan_engine.search.results import QueryHits

matplotlib.use("Agg")
from matplotlib import pyplot

OUTPUT = Path(__file__).parents[1] / "docs" / "demo.jpg"
# From artifacts/demo/queries.tsv, by their order there: neither the best six nor the worst.
QUERIES = {
    "a dog on grass": ("dog", "grass"),
    "a black and white cow in a field": ("cow", "field"),
    "a red bird on a branch": ("bird", "branch"),
    "a panda": ("a", "panda"),
    "a windmill": ("a", "windmill"),
    "a castle by the water": ("castle", "water"),
}
GRID, SIDE = 6, 224


def attention(scorer: Scorer, gallery: Gallery, query: str, image: str) -> dict[str, NDArray[np.float32]]:
    """Each word's attention over an image's regions, 6 x 6; a word that stands twice has its last place."""
    reading = scorer.encoders.read(query)
    block = next(block for block in gallery.blocks if image in block.ids)
    found = scorer.explain(
        block.rows_of([block.ids.index(image)]),
        scorer.encoders.encode_captions([reading.tokens]),
    )
    rows = found["word_attention"][0, 0]
    return {word.text: rows[list(word.tokens)].mean(0).reshape(GRID, GRID) for word in reading.words}


def glow(photo: Path, weights: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The photo, dark where a word does not look."""
    pixels = resize(decode_photo(photo), SIDE, SIDE)
    light = Image.fromarray(np.uint8(255 * weights / weights.max())).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return (pixels * (0.2 + 0.8 * np.asarray(light)[..., None] / 255)).astype(np.uint8)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    place = locate_gallery(Path("demo"), None)
    bundle = Bundle.open(place.bundle)
    gallery, scorer = Gallery.open(place.gallery, bundle), Scorer(bundle, "cpu")
    results: list[QueryHits] = search(scorer, gallery, list(QUERIES), top_k=5, explain=False)
    figure, axes = pyplot.subplots(len(QUERIES), 7, figsize=(14, 13))
    for row, result in zip(axes, results, strict=True):
        for cell, hit in zip(row, result.hits, strict=False):
            cell.imshow(resize(decode_photo(Path(hit.image.path)), SIDE, SIDE))
            cell.set_title(f"{hit.rank}: {hit.score:.2f}", fontsize=8)
        row[0].set_ylabel(result.query, fontsize=8)
        first = result.hits[0].image
        maps = attention(scorer, gallery, result.query, first.id)
        for cell, word in zip(row[5:], QUERIES[result.query], strict=True):
            cell.imshow(glow(Path(first.path), maps[word]))
            cell.set_title(f"'{word}' in the first", fontsize=8)
        for cell in row:
            cell.set(xticks=[], yticks=[])
    figure.tight_layout()
    figure.savefig(options.output, dpi=80, pil_kwargs={"quality": 85})
    print(options.output)


if __name__ == "__main__":
    main()
