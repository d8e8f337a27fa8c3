"""A tiny checkpoint's content, and tiny stores, by hand: what the tests' fixtures and the tests themselves make."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

FEATURES, DIM, EXTRACTOR = 24, 32, "tiny-extractor"
WORDS = [
    "a",
    "dog",
    "runs",
    "over",
    "the",
    "grass",
    "man",
    "with",
    "red",
    "hat",
    "rides",
    "bike",
    "two",
    "children",
    "play",
    "in",
    "water",
    ".",
    "cat",
    "sleeps",
]
CAPTIONS = (
    "a dog runs over the grass .",
    "man",
    "two children play in the water with a red hat , a cat , a dog and a bike .",
    "a cat sleeps in the grass",
    "man rides bike",
)


def random_tensors(config: Mapping[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """Every tensor of a SHAN checkpoint, large enough that all the nonlinearities bend."""
    random = np.random.default_rng(seed)
    F, D, size = config["feature_dim"], config["embed_dim"], config["vocab_size"]
    into = config["word_vector_dim"] + config["embedding_dim"]
    shapes = {
        "image_encoder.fc.weight": (D, F),
        "image_encoder.fc.bias": (D,),
        "text_encoder.word_vectors.weight": (size, config["word_vector_dim"]),
        "text_encoder.embedding.weight": (size, config["embedding_dim"]),
        "alignment.image_proj.weight": (D, D),
        "alignment.text_proj.weight": (D, D),
        "alignment.image_gate.weight": (D, 2 * D),
        "alignment.image_gate.bias": (D,),
        "alignment.text_gate.weight": (D, 2 * D),
        "alignment.text_gate.bias": (D,),
        "alignment.image_pool.weight": (1, D),
        "alignment.text_pool.weight": (1, D),
    }
    for side in ("", "_reverse"):
        shapes |= {
            f"text_encoder.gru.weight_ih_l0{side}": (3 * D, into),
            f"text_encoder.gru.weight_hh_l0{side}": (3 * D, D),
            f"text_encoder.gru.bias_ih_l0{side}": (3 * D,),
            f"text_encoder.gru.bias_hh_l0{side}": (3 * D,),
        }
    wide = ("_gate.weight", "_pool.weight")
    return {
        name: (random.normal(size=shape) * (2.0 if name.endswith(wide) else 1.2) / np.sqrt(shape[-1])).astype(
            np.float32
        )
        if len(shape) == 2 and not name.startswith(("text_encoder.word", "text_encoder.emb"))
        else (random.normal(size=shape) * 0.6).astype(np.float32)
        for name, shape in shapes.items()
    }


def tiny_config(**changes: Any) -> dict[str, Any]:
    """A config.json's content."""
    return {
        "model": "shan",
        "feature_dim": FEATURES,
        "embed_dim": DIM,
        "word_vector_dim": 7,
        "embedding_dim": 5,
        "vocab_size": 4 + len(WORDS),
        "temperature": 9.0,
        "direction": "full",
        "steps": ["l2l", "g2l", "g2g"],
        **changes,
    }


def write_checkpoint(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Path:
    """A checkpoint by hand: nothing of this project touches the folder."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    words = ["<pad>", "<start>", "<end>", "<unk>", *WORDS][: config["vocab_size"]]
    vocabulary = {
        "word2idx": {word: number for number, word in enumerate(words)},
        "idx2word": {str(number): word for number, word in enumerate(words)},
        "idx": len(words),
    }
    (folder / "config.json").write_text(json.dumps(dict(config)))
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    save_file(dict(tensors), folder / "model.safetensors")
    return folder


def make_record(number: int, *, seed: int = 0, regions: int | None = None, dim: int = FEATURES) -> Any:
    """Image `photo<number>`; every third image has fewer than 9 regions, every fourth no boxes."""
    from shan_engine.store.records import RegionRecord

    random = np.random.default_rng((number, seed))
    count = regions or (1 + number % 7 if number % 3 == 0 else 9)
    corners = random.random((count, 4)).astype(np.float32) * 100
    return RegionRecord(
        id=f"photo{number}",
        features=np.abs(random.normal(size=(count, dim))).astype(np.float32),
        boxes=None if number % 4 == 3 else corners,
        path=f"photos/{number}.jpg",
        width=100,
        height=100,
    )


def make_store(path: Path, numbers: range, *, dim: int = FEATURES, extractor: str = EXTRACTOR) -> Any:
    """A store of images `photo<number>`, open for writing; the caller closes it."""
    from shan_engine.store.feature_store import FeatureStore
    from shan_engine.store.schema import StoreSchema

    store = FeatureStore.create(path, StoreSchema(extractor, dim, max_regions=9))
    store.write([make_record(number, dim=dim) for number in numbers])
    return store
