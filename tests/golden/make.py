"""Make one small file of each kind that the engine reads, as this version writes it.

    python tests/golden/make.py NEW_FOLDER

A kind whose format changes gets a new folder, `gallery-3` beside `gallery-2`; files of older versions are never made
again, because tests open them as they were written.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from shan_engine.bundle.contents import Bundle
from shan_engine.bundle.plans import Limits, PlanSet, PrecisionCheck, graph_digests
from shan_engine.gallery.captions import CaptionGallery
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.captions import index_captions
from shan_engine.indexing.images import index_store
from shan_engine.jobs.options import JobOptions
from shan_engine.jobs.run import score_job
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.answer import search
from shan_engine.search.captions import search_captions
from shan_engine.search.photo_query import QueryPhoto
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.records import RegionRecord, SeenClasses
from shan_engine.store.schema import StoreSchema
from shan_engine.text.query_files import QueryLine
from shan_export.bundle_writer import export_bundle

sys.path.append(str(Path(__file__).parents[1]))
from tiny import CAPTIONS, EXTRACTOR, FEATURES, make_record, make_store, random_tensors, tiny_config, write_checkpoint

IMAGES = 6


def main(folder: Path) -> None:
    """Write every kind into a new folder, and `scores.json` with what a search finds in them."""
    folder.mkdir()
    config = tiny_config()
    checkpoint = write_checkpoint(folder / "checkpoint-1", config, random_tensors(config))
    export_bundle(checkpoint, folder / "bundle-2", feature_extractor_name=EXTRACTOR)
    scorer = Scorer(Bundle.open(folder / "bundle-2"), "cpu", threads=1)
    (folder / "captions.txt").write_text("\n".join(CAPTIONS) + "\n")
    with make_store(folder / "store-1", range(IMAGES)) as store:
        index_store(store, scorer, folder / "gallery-2")
        store.compact()
    write_store_2(folder / "store-2")
    index_captions(folder / "captions.txt", scorer, folder / "captions-1")
    queries = [QueryLine(f"q{number}", text, "captions.txt") for number, text in enumerate(CAPTIONS)]
    gallery = Gallery.open(folder / "gallery-2", scorer.bundle)
    score_job(scorer, [gallery], queries, folder / "result-1.parquet", options=JobOptions(top_k=2))
    plans = PlanSet(
        compiler="tensorrt",
        compiler_version="10.8",
        precision="fp16",
        architectures=("sm_86",),
        limits=Limits(),
        check=PrecisionCheck(0.001, 200, 1000, {"text_to_image_r1": -0.1}),
        graphs=graph_digests(scorer.bundle),
        files={"image_encoder.plan": "0" * 64},
    )
    (folder / "plans-1").mkdir()
    plans.save(folder / "plans-1")
    found = measure(folder)
    (folder / "scores.json").write_text(json.dumps(found, indent=1) + "\n")
    for lock in folder.rglob("*.lock"):
        lock.unlink()
    for lock in folder.rglob("lock.mdb"):
        lock.unlink()
    shutil.rmtree(folder / "result-1.parquet.job", ignore_errors=True)


def write_store_2(folder: Path) -> None:
    """A store that knows what photos were seen as."""
    with FeatureStore.create(folder, StoreSchema(EXTRACTOR, FEATURES, max_regions=9, version=2)) as store:
        store.write([seen_record(number) for number in range(2)])
        store.compact()


def seen_record(number: int) -> RegionRecord:
    """The image that `store-2` holds: the second is one whose classes are unknown."""
    classes, shares, regions = (
        np.array([7, 999], np.uint16),
        np.array([0.5, 0.25], np.float16),
        np.array([0, 2], np.uint8),
    )
    record: RegionRecord = make_record(number, regions=3)
    return record if number else replace(record, seen=SeenClasses(classes, shares, regions))


def measure(folder: Path) -> dict[str, dict[str, list[float]]]:
    """Scores by id: of photos for each caption, and of captions for the first photo of the store."""
    scorer = Scorer(Bundle.open(folder / "bundle-2"), "cpu", threads=1)
    gallery = Gallery.open(folder / "gallery-2", scorer.bundle)
    photos: dict[str, list[float]] = {}
    for hits in search(scorer, gallery, list(CAPTIONS), top_k=IMAGES, exhaustive=True):
        for hit in hits.hits:
            photos.setdefault(hit.image.id, []).append(hit.score)
    with FeatureStore.open(folder / "store-1") as store:
        (record,) = store.read(["photo0"])
    features = record.features[None].astype(np.float32)
    images = scorer.encoders.encode_images(features, np.ones(features.shape[:2], np.bool_))
    photo = QueryPhoto(Path("photo0"), images, np.zeros((features.shape[1], 4), np.float32))
    captions = search_captions(scorer, CaptionGallery.open(folder / "captions-1", scorer.bundle), photo, top_k=9)
    return {"photos": photos, "captions": {hit.id: [hit.score] for hit in captions}}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
