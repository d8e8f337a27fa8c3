"""Whether pictures that show nothing win: white, black, grey, noise and a page of text among other photos.

    python benchmarks/blanks.py
    python benchmarks/blanks.py --model B --querybank bank.txt

The pictures are drawn, and indexed together with the photos of a folder (the demo's by default). Then 300 generated
queries are asked, of which hardly one is about them. The table says for each picture how often it is among the first
three and, where the bundle has a calibration, how often its probability is 0.25 or more. By chance a picture is among
the first three of 259 photos in 1.2 % of queries. Last comes the rank of the page of text for queries that ask for it.
`--querybank` measures hubness by a file of queries, where the bundle has no bank of its own.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import shan_engine
from PIL import Image, ImageDraw
from shan_engine.base.errors import InputError
from shan_engine.bundle.contents import Bundle
from shan_engine.engine import Engine
from shan_engine.indexing.images import index_store
from shan_engine.indexing.querybank import Querybank
from shan_engine.locate import demo_bundle, locate_bundle
from shan_engine.photos.extract import extract_photos
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.photo_query import open_extractor
from shan_engine.search.results import LIKELY
from shan_engine.store.feature_store import FeatureStore
from shan_export.querybank import generate

SIDE, FIRST, SEED = 384, 3, 1
OF_TEXT = ("a page of text", "printed words", "a book page")


def drawn() -> dict[str, Image.Image]:
    """The pictures by name."""
    noise = np.random.default_rng(SEED).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    plain = {"white": (255,) * 3, "black": (0,) * 3, "grey": (128,) * 3}
    page = Image.new("RGB", (SIDE, SIDE), (255,) * 3)
    text = "\n".join(" ".join(generate(6, seed)) for seed in range(24))
    ImageDraw.Draw(page).multiline_text((12, 12), text, fill=(0, 0, 0))
    pictures = {name: Image.new("RGB", (SIDE, SIDE), colour) for name, colour in plain.items()}
    return {**pictures, "noise": Image.fromarray(noise), "text": page}


def report(engine: Engine, ids: Sequence[str], queries: Sequence[str]) -> None:
    """Print how often pictures win, with hubness subtracted and without, and the rank of the page of text."""
    known = [query for query in queries if readable(engine, query)]
    first, raw = Counter[str](), Counter[str]()
    likely, probable = Counter[str](), False
    for normalise, count in ((True, first), (False, raw)):
        for hits in engine.search_all(known, top_k=len(engine), explain=False, normalise=normalise):
            count.update(hit.image.id for hit in hits.hits[:FIRST])
            probable = probable or hits.best_probability is not None
            likely.update(hit.image.id for hit in hits if normalise and (hit.probability or 0) >= LIKELY)
    print(f"of {len(known)} queries: among the first {FIRST}, the same without hubness, probability {LIKELY} or more")
    for id in ids:
        told = f"{likely[id] / len(known):8.1%}" if probable else "       -"
        print(f"{id:20}{first[id] / len(known):8.1%}{raw[id] / len(known):8.1%}{told}")
    for query in filter(partial(readable, engine), OF_TEXT):
        ranked = [hit.image.id for hit in engine.search(query, top_k=len(engine), explain=False)]
        print(f"{query}: rank {ranked.index(ids[-1]) + 1} of {len(ranked)}")


def readable(engine: Engine, query: str) -> bool:
    """Whether the model knows a word of a query."""
    try:
        return bool(engine.scorer.encoders.read(query))
    except InputError:
        return False


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw, index, ask and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="bundle, with its extractor (the demo's)")
    parser.add_argument("--photos", type=Path, default=demo_bundle().parent / "photos", help="folder (the demo's)")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--querybank", type=Path, help="file of queries that hubness is measured by")
    options = parser.parse_args(arguments)
    pictures = drawn()
    with tempfile.TemporaryDirectory() as work:
        folder = Path(shutil.copytree(options.photos, Path(work) / "photos"))
        for name, picture in pictures.items():
            picture.save(folder / f"drawn-{name}.png")
        scorer = Scorer(Bundle.open(locate_bundle(options.model)), "cpu")
        bank = Querybank.read(options.querybank) if options.querybank else None
        extract_photos(folder, Path(work) / "store", open_extractor(scorer.bundle, device="cpu"))
        with FeatureStore.open(Path(work) / "store") as store:
            index_store(store, scorer, Path(work) / "gallery", querybank=bank)
        with shan_engine.open(Path(work) / "gallery", options.model, device="cpu") as engine:
            report(engine, [f"drawn-{name}.png" for name in pictures], generate(options.queries, SEED))


if __name__ == "__main__":
    main()
