"""Tiny checkpoints, bundles, stores and galleries that several tests share."""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"  # kernels run on CPU; Triton reads it when it is imported

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))

import own_home  # noqa: F401 before a command is run
from bundle_cache import BundleCache
from hypothesis import HealthCheck, settings
from in_process import refusal
from job_runs import galleries, other_path, run_job  # noqa: F401 fixtures
from tiny import EXTRACTOR, make_store, random_tensors, tiny_config, write_checkpoint

# The same examples in every run, however slow the machine; `--hypothesis-profile=default` draws others.
settings.register_profile("same", derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile("same")


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
def exported(pytestconfig: pytest.Config) -> BundleCache:
    """`exported(checkpoint, output, **options)` as `export_bundle`, from the cache that all sessions share."""
    return BundleCache(pytestconfig.cache.mkdir("bundles"))


@pytest.fixture(scope="session")
def bundle_path(checkpoint: Checkpoint, exported: BundleCache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of `checkpoint`; copy it before changing it."""
    path = tmp_path_factory.mktemp("bundle") / "bundle"
    exported(checkpoint.folder, path, feature_extractor_name=EXTRACTOR)
    return path


@pytest.fixture(scope="session")
def local_bundle(
    make_checkpoint: MakeCheckpoint, exported: BundleCache, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The bundle of another checkpoint, which has step 1 alone; copy it before changing it."""
    path = tmp_path_factory.mktemp("local") / "bundle"
    exported(make_checkpoint(seed=3, steps=["l2l"]).folder, path, feature_extractor_name=EXTRACTOR)
    return path


@pytest.fixture(scope="session")
def seeing_bundle(
    make_checkpoint: MakeCheckpoint, exported: BundleCache, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A bundle with a feature extractor, which sees the mean colours of a photo's two halves."""
    from extractors import detector

    folder = tmp_path_factory.mktemp("seeing")
    checkpoint = make_checkpoint(seed=4, feature_dim=3)
    exported(checkpoint.folder, folder / "bundle", feature_extractor=detector(folder))
    return folder / "bundle"


@pytest.fixture(scope="session")
def seeing(seeing_bundle: Path) -> Any:
    """The scorer of `seeing_bundle`."""
    from shan_engine.bundle.contents import Bundle
    from shan_engine.scoring.scorer import Scorer

    return Scorer(Bundle.open(seeing_bundle), "cpu", threads=1)


@pytest.fixture(scope="session")
def album(seeing: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 24 two-coloured `photos`, the `store` and the `gallery` made of them with `seeing_bundle`."""
    from shan_engine.indexing.images import index_store
    from shan_engine.photos.extract import extract_photos
    from shan_engine.photos.extractor import FeatureExtractor
    from shan_engine.store.feature_store import FeatureStore

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
    from shan_engine.bundle.contents import Bundle
    from shan_engine.scoring.scorer import Scorer

    return Scorer(Bundle.open(bundle_path), "cpu", threads=1)


@pytest.fixture(scope="session")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed store of 41 images."""
    path = tmp_path_factory.mktemp("store") / "store"
    make_store(path, range(41)).close()
    return path


@pytest.fixture(scope="session")
def gallery_path(store_path: Path, scorer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of `store_path`; copy it before changing it."""
    from shan_engine.indexing.images import index_store
    from shan_engine.store.feature_store import FeatureStore

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
