"""Tiny checkpoints, bundles, stores and galleries that several tests share."""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"  # kernels run on CPU; Triton reads it when it is imported

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))

from installed import refusal
from job_runs import galleries, other_path, run_job  # noqa: F401 fixtures

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
    """Every tensor of SHAN.md's table, large enough that all the nonlinearities bend."""
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


@dataclass(frozen=True)
class Checkpoint:
    """A folder and what was written into it."""

    folder: Path
    config: dict[str, Any]
    tensors: dict[str, np.ndarray]


MakeCheckpoint = Callable[..., Checkpoint]


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> MakeCheckpoint:
    """Make a hand-written checkpoint: `make_checkpoint(seed=…, **config)`."""

    def make(seed: int = 0, **changes: Any) -> Checkpoint:
        config = tiny_config(**changes)
        tensors = random_tensors(config, seed)
        return Checkpoint(
            write_checkpoint(tmp_path_factory.mktemp("hand-made") / "checkpoint", config, tensors), config, tensors
        )

    return make


@pytest.fixture(scope="session")
def checkpoint(make_checkpoint: MakeCheckpoint) -> Checkpoint:
    return make_checkpoint()


@pytest.fixture(scope="session")
def bundle_path(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of `checkpoint`; copy it before changing it."""
    from shan_export.bundle_writer import export_bundle

    path = tmp_path_factory.mktemp("bundle") / "bundle"
    export_bundle(checkpoint.folder, path, feature_extractor_name=EXTRACTOR)
    return path


@pytest.fixture(scope="session")
def seeing_bundle(make_checkpoint: MakeCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a feature extractor, which sees the mean colours of a photo's two halves."""
    from extractors import detector
    from shan_export.bundle_writer import export_bundle

    folder = tmp_path_factory.mktemp("seeing")
    checkpoint = make_checkpoint(seed=4, feature_dim=3)
    export_bundle(checkpoint.folder, folder / "bundle", feature_extractor=detector(folder))
    return folder / "bundle"


@pytest.fixture(scope="session")
def seeing(seeing_bundle: Path) -> Any:
    """The scorer of `seeing_bundle`."""
    from shan_engine.bundle import Bundle
    from shan_engine.scorer import Scorer

    return Scorer(Bundle.open(seeing_bundle), "cpu", threads=1)


@pytest.fixture(scope="session")
def album(seeing: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 24 two-coloured `photos`, the `store` and the `gallery` made of them with `seeing_bundle`."""
    from shan_engine.extraction import extract_photos
    from shan_engine.feature_extractor import FeatureExtractor
    from shan_engine.indexing import index_store
    from shan_engine.store import FeatureStore

    folder = tmp_path_factory.mktemp("album")
    (folder / "photos").mkdir()
    random = np.random.default_rng(7)
    for number in range(24):
        left, right = (tuple(random.integers(0, 256, 3).tolist()) for _ in range(2))
        image = Image.new("RGB", (40, 20), left)
        image.paste(right, (20, 0, 40, 20))
        image.save(folder / "photos" / f"{number:02}.png")
    extract_photos(folder / "photos", folder / "store", FeatureExtractor(seeing.bundle.feature_extractor, "cpu"))
    with FeatureStore.open(folder / "store") as store:
        index_store(store, seeing, folder / "gallery")
    return folder


@pytest.fixture
def bundle_copy(bundle_path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle_path, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def scorer(bundle_path: Path) -> Any:
    from shan_engine.bundle import Bundle
    from shan_engine.scorer import Scorer

    return Scorer(Bundle.open(bundle_path), "cpu", threads=1)


def make_record(number: int, *, seed: int = 0, regions: int | None = None, dim: int = FEATURES) -> Any:
    """Image `photo<number>`; every third image has fewer than 9 regions, every fourth no boxes."""
    from shan_engine.records import RegionRecord

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
    from shan_engine.store import FeatureStore
    from shan_engine.store_schema import StoreSchema

    store = FeatureStore.create(path, StoreSchema(extractor, dim, max_regions=9))
    store.write([make_record(number, dim=dim) for number in numbers])
    return store


@pytest.fixture(scope="session")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed store of 41 images."""
    path = tmp_path_factory.mktemp("store") / "store"
    make_store(path, range(41)).close()
    return path


@pytest.fixture(scope="session")
def gallery_path(store_path: Path, scorer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of `store_path`; copy it before changing it."""
    from shan_engine.indexing import index_store
    from shan_engine.store import FeatureStore

    path = tmp_path_factory.mktemp("gallery") / "gallery"
    with FeatureStore.open(store_path) as store:
        index_store(store, scorer, path)
    return path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a disk of a size such as "2m": `small_disk("2m")` is its folder."""
    disk = tmp_path / "disk"

    def mount(size: str) -> Path:
        disk.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "shan-test", str(disk)]
        if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("mounting a small tmpfs is not permitted here")
        return disk

    yield mount
    if disk.is_mount():
        subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture
def gallery_copy(gallery_path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(gallery_path, tmp_path / "gallery"))


@dataclass(frozen=True)
class Place:
    """Sound things to spoil: all below `here`."""

    here: Path
    bundle: Path
    gallery: Path
    store: Path

    def search(self, *queries: str) -> str:
        """The sentence with which a search is refused."""
        return refusal("search", *queries, "--gallery", self.gallery, "--model", self.bundle)

    def index(self) -> str:
        """The sentence with which a new gallery is refused."""
        return refusal("index", self.store, "--model", self.bundle, "--output", self.here / "new")


@pytest.fixture
def place(tmp_path: Path, bundle_copy: Path, gallery_copy: Path, store_path: Path) -> Place:
    return Place(tmp_path, bundle_copy, gallery_copy, Path(shutil.copytree(store_path, tmp_path / "store")))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with one red photo, `a.png`."""
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (20, 20), (255, 0, 0)).save(folder / "a.png")
    return folder
