"""A tiny bundle whose scores have both further parts, made of another by adding outputs to its graphs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from resigned import sign_fields
from shan_engine.base.files import sha256
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.images import BlockSizes, index_store
from shan_engine.scoring.scorer import Scorer
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.records import SeenClasses
from shan_engine.store.schema import StoreSchema
from tiny import EXTRACTOR, FEATURES, make_record

CLASSES, SEEN, DIM = 10, 4, 8
PARTS = {"global": {"weight": 0.3}, "classes": {"weight": 0.15, "floor": 0.2}}
NAMES = [f"class {number}" for number in range(CLASSES)]


def add_parts(bundle: Path, parts: dict[str, dict[str, float]] | None = None) -> Path:
    """Give a bundle's score further parts, in place: random projections of its regions' and words' sums."""
    random = np.random.default_rng(5)
    image, text, classes = (random.normal(size=(32, size)).astype(np.float32) for size in (DIM, DIM, CLASSES))
    _add_outputs(bundle / "image_encoder.onnx", "image_regions", "region_mask", {"image_vector": image})
    _add_outputs(
        bundle / "text_encoder.onnx", "caption_words", "word_mask", {"query_vector": text, "class_weights": classes}
    )
    (bundle / "classes.json").write_text(json.dumps(NAMES))
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    files = {name: sha256(bundle / name) for name in [*files, "classes.json"]}
    sign_fields(bundle / "manifest.json", files=files, fingerprint="5" * 64, parts=PARTS if parts is None else parts)
    return bundle


def _add_outputs(path: Path, rows: str, mask: str, projections: dict[str, np.ndarray]) -> None:
    """Outputs X x size from the sum of X's real rows: of length 1, or for class weights positive."""
    model = onnx.load(path)
    graph: Any = model.graph
    axis = numpy_helper.from_array(np.array([1], np.int64), "added_axis")
    last = numpy_helper.from_array(np.array([2], np.int64), "added_last")
    graph.initializer.extend([axis, last])
    graph.node.extend(
        [
            helper.make_node("Cast", [mask], ["added_mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["added_mask", "added_last"], ["added_column"]),
            helper.make_node("Mul", [rows, "added_column"], ["added_real"]),
            helper.make_node("ReduceSum", ["added_real", "added_axis"], ["added_sum"], keepdims=0),
        ]
    )
    for name, projection in projections.items():
        graph.initializer.append(numpy_helper.from_array(projection, f"{name}_projection"))
        graph.node.append(helper.make_node("MatMul", ["added_sum", f"{name}_projection"], [f"{name}_raw"]))
        last_node = (
            helper.make_node("Exp", [f"{name}_scaled"], [name])
            if name == "class_weights"
            else helper.make_node("LpNormalization", [f"{name}_raw"], [name], axis=-1, p=2)
        )
        if name == "class_weights":
            graph.node.append(helper.make_node("Tanh", [f"{name}_raw"], [f"{name}_scaled"]))
        graph.node.append(last_node)
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, projection.shape[1]]))
    onnx.checker.check_model(model)
    onnx.save(model, path)


def seen_of(id: str) -> SeenClasses | None:
    """What a photo was seen as, made up of its id's number; nothing where that ends with 7."""
    number = int("".join(filter(str.isdigit, id)))
    random = np.random.default_rng(number)
    likely = np.sort(random.dirichlet(np.full(SEEN + 1, 0.5))[:SEEN])[::-1].astype(np.float16)
    classes = random.choice(CLASSES, SEEN, replace=False).astype(np.uint16)
    # The record of every third photo has as few as one region (`tiny.make_record`).
    regions = random.integers(0, 1 if number % 3 == 0 else 9, SEEN).astype(np.uint8)
    return None if number % 10 == 7 else SeenClasses(classes, likely, regions)


def make_seen_store(path: Path, numbers: range, *, seen: bool = True) -> FeatureStore:
    """As `tiny.make_store`, with what photos were seen as."""
    schema = StoreSchema(EXTRACTOR, FEATURES, max_regions=9, version=2)
    store = FeatureStore.create(path, schema)
    records = [make_record(number) for number in numbers]
    store.write([replace(record, seen=seen_of(record.id) if seen else None) for record in records])
    return store


def indexed(folder: Path, scorer: Scorer, output: Path, **options: Any) -> Gallery:
    """A gallery in small blocks, searched in stages, of the folder's store."""
    with FeatureStore.open(folder / "store") as store:
        index_store(store, scorer, output, sizes=BlockSizes(128, staged_from=100), **options)
    return Gallery.open(output, scorer.bundle)


def add_querybank(bundle: Path, queries: list[str], inverse_temperature: float, weight: float) -> Path:
    """Give a bundle a querybank of its own, in place."""
    (bundle / "querybank.txt").write_text("".join(f"{query}\n" for query in queries), "utf-8")
    sign_files(bundle, querybank={"inverse_temperature": inverse_temperature, "weight": weight})
    return bundle


def sign_files(bundle: Path, **changes: Any) -> None:
    """List a bundle's files as they are now in its manifest, and change other fields."""
    files = {file.name: sha256(file) for file in sorted(bundle.iterdir()) if file.name != "manifest.json"}
    sign_fields(bundle / "manifest.json", files=files, **changes)
