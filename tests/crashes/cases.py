"""Commands that are killed, and what is there before and after them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
from shan_engine.base.errors import StoreError
from shan_engine.bundle.contents import Bundle
from shan_engine.bundle.plans import PlanSet, plan_sets
from shan_engine.gallery.captions import CaptionGallery
from shan_engine.gallery.reader import Gallery
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.records import RegionRecord
from shan_engine.store.schema import StoreSchema
from tiny import make_record, random_tensors, tiny_config, write_checkpoint

IMAGE = make_record(1).id


@dataclass(frozen=True)
class Case:
    """A command, the state before it, and what it leaves: `held` reads it, in parts that may come one after another.

    `make` adds what only this command starts from, in a fork; `prepare` does, before all forks, what takes long and
    writes nothing.
    """

    command: Callable[[Path], list[object]]
    held: Callable[[Path], Any]
    again: tuple[str, ...] = ()
    make: Callable[[Path], None] = lambda at: None
    prepare: Callable[[], None] = lambda: None


def store_held(path: Path) -> Any:
    """Everything in a store, None where there is none."""
    try:
        with FeatureStore.open(path) as store:
            return {record.id: record.features.tobytes() for record in store.read(sorted(store.ids()))}
    except StoreError as error:
        if "there is no feature store" in str(error):
            return None
        raise


def gallery_held(path: Path) -> Any:
    """Every image of a gallery with its arrays, checked."""
    if not (path / "manifest.json").exists():
        return None
    found = {}
    for block in Gallery.open(path).blocks:
        arrays = block.rows_of(np.arange(len(block)))
        for row, id in enumerate(block.ids):
            found[id] = [array[row].tobytes() for array in arrays.values()]
    return found


def captions_held(path: Path, bundle: Path) -> Any:
    """The captions of a gallery, with their arrays."""
    if not (path / "manifest.json").exists():
        return None
    gallery = CaptionGallery.open(path, Bundle.open(bundle))
    return {str(gallery.listed(block)): sorted(gallery.arrays(block)) for block in gallery.blocks}


def result_held(path: Path) -> Any:
    """The rows of a result."""
    return pyarrow.parquet.read_table(path).to_pylist() if path.exists() else None


def make_training(at: Path) -> None:
    """Captions, word vectors and a store to train on."""
    from synthetic import F, Photos, captioned

    table, _ = captioned(at)
    with FeatureStore.create(at / "training", StoreSchema("synthetic", F, max_regions=9)) as store:
        for image in sorted({image for _, image, _ in table.rows}):
            features, mask = Photos().regions([image])
            store.write([RegionRecord(image, features[0, mask[0]])])


def training_held(path: Path) -> Any:
    """The epochs that a training has behind it; its checkpoint and its state must be whole where they are there."""
    from shan_model.checkpoint import load_checkpoint
    from shan_model.training.state import TrainState
    from synthetic import curve

    if (path / "model.safetensors").exists():
        load_checkpoint(path)
    if path.exists():
        TrainState.load(path)
    return dict(enumerate(curve(path))) or None


def make_checkpoint(at: Path) -> None:
    """A checkpoint to export."""
    config = tiny_config()
    write_checkpoint(at / "checkpoint", config, random_tensors(config))


def traced(bundle: Path) -> None:
    """Take the graphs of a bundle of that checkpoint for traced: to trace takes half a minute, and writes nothing."""
    import onnx_ir
    import torch

    graphs = [onnx_ir.load(path) for path in bundle.glob("*.onnx")]
    for value in (value for model in graphs for value in model.graph.inputs):
        value.shape = onnx_ir.Shape(value.shape or ())  # one that may change
    by_outputs = {tuple(value.name for value in model.graph.outputs): model for model in graphs}

    def export(*arguments: Any, output_names: list[str], **options: Any) -> torch.onnx.ONNXProgram:
        return torch.onnx.ONNXProgram(by_outputs[tuple(output_names)], None)

    torch.onnx.export = export


def bundle_held(path: Path) -> Any:
    """The files of a bundle, checked."""
    return Bundle.open(path).manifest.files if path.exists() else None


def plans_held(path: Path) -> Any:
    """The plans in a bundle, checked; two runs need not compile to the same bytes."""
    bundle = Bundle.open(path)
    found = {}
    for folder in plan_sets(bundle):
        plans = PlanSet.load(folder)
        plans.refuse_stale(bundle, folder)
        found[plans.name] = sorted(plans.files)
    return found


def _named_apart(held: dict[str, Any]) -> dict[str, Any]:
    return {f"gallery {id}": arrays for id, arrays in held.items()}


def cases(bundle: Path, seeing: Path) -> dict[str, Case]:
    """All cases by name; `seeing` is a bundle with a feature extractor."""
    return {
        "import": Case(
            lambda at: ["import", at / "more.npy", "--store", at / "new"],
            lambda at: store_held(at / "new"),
            ("--replace",),
        ),
        "delete": Case(lambda at: ["store", "delete", at / "s", IMAGE], lambda at: store_held(at / "s")),
        "compact": Case(lambda at: ["store", "compact", at / "s"], lambda at: store_held(at / "s")),
        "index": Case(
            lambda at: ["index", at / "s", "--model", bundle, "--output", at / "g"], lambda at: gallery_held(at / "g")
        ),
        "index again": Case(
            lambda at: ["index", at / "s2", "--model", bundle, "--output", at / "old"],
            lambda at: gallery_held(at / "old"),
        ),
        "index-captions": Case(
            lambda at: ["index-captions", at / "c.txt", "--model", bundle, "--output", at / "c"],
            lambda at: captions_held(at / "c", bundle),
        ),
        "score": Case(
            lambda at: [
                *("score", "--gallery", at / "old", "--model", bundle, "--queries", at / "c.txt"),
                *("--output", at / "r.parquet", "--top-k", 3),
            ],
            lambda at: result_held(at / "r.parquet"),
        ),
        "merge": Case(
            lambda at: ["gallery", "merge", at / "old", at / "other", "--output", at / "m"],
            lambda at: gallery_held(at / "m"),
        ),
        "extract": Case(
            lambda at: ["extract", at / "photos", "--store", at / "p", "--model", seeing, "--storage", "float32"],
            lambda at: store_held(at / "p"),
        ),
        "update": Case(
            lambda at: ["update", "photos", "--device", "cpu"],
            lambda at: {**(store_held(at / "u") or {}), **_named_apart(gallery_held(at / "ug") or {})},
        ),
        "train": Case(
            lambda at: [
                *("train", "--store", at / "training", "--captions", at / "captions.tsv", "--output", at / "t"),
                *("--word-vectors", at / "vectors.txt", "--embed-dim", 8, "--batch-size", 6, "--epochs", 2),
            ],
            lambda at: training_held(at / "t"),
            make=make_training,
        ),
        "export": Case(
            lambda at: ["export", at / "checkpoint", "--output", at / "b", "--feature-extractor-name", "none"],
            lambda at: bundle_held(at / "b"),
            ("--overwrite",),
            make=make_checkpoint,
            prepare=lambda: traced(bundle),
        ),
        "compile": Case(
            lambda at: ["compile", at / "b2", "--gpu-arch", "sm_86"],
            lambda at: plans_held(at / "b2"),
            make=lambda at: shutil.copytree(bundle, at / "b2") and None,
        ),
    }
