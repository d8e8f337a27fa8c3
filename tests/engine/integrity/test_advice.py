"""What a message advises about damage, done as it stands, repairs it in one step."""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from in_process import refusal, shan
from shan_engine.base.errors import GalleryError
from shan_engine.collections.named import collection_file
from shan_engine.collections.settings import Collection
from shan_engine.gallery import block_files
from shan_engine.gallery.block_files import LIST
from shan_engine.gallery.captions import CaptionGallery, CaptionManifest
from shan_engine.gallery.manifest import GalleryManifest
from shan_engine.store.feature_store import FeatureStore

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def collection(things: Path, tmp_path: Path, monkeypatch: Any) -> Collection:
    """A collection with a copy of the store and the gallery, in a folder whose name a shell must quote."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    at = tmp_path / "Jörg's photos"
    for name in ("store", "gallery", "captions"):
        shutil.copytree(things / name, at / name)
    held = Collection(name="photos", folders=(at,), store=at / "store", gallery=at / "gallery")
    held.save(collection_file("photos"))
    return held


def followed(sentence: str) -> None:
    """Run the repairing command that a sentence names."""
    (command,) = re.findall("run `(shan-engine repair [^`]+)`", sentence)
    done = shan(*shlex.split(command)[1:])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("command", "file"), [("search", "manifest.json"), ("index", "manifest.json"), ("search", LIST)]
)
def test_a_command_that_meets_damage_names_the_one_that_repairs_it(
    collection: Collection, bundle_path: Path, command: str, file: str
) -> None:
    next(collection.gallery.rglob(file)).unlink()
    model = ("--model", bundle_path)
    asked = {"search": ("search", "two dogs", *model), "index": ("index", collection.store, "--output", "*", *model)}
    words = [collection.gallery if word == "*" else word for word in asked[command]]
    followed(refusal(*words))
    assert shan(*words).returncode == 0


def test_a_gallery_of_captions_that_is_damaged_names_the_command(
    collection: Collection, bundle_path: Path, scorer: Any, monkeypatch: Any
) -> None:
    gallery = collection.gallery.parent / "captions"
    block = CaptionManifest.load(gallery).blocks[0].name
    next((gallery / "blocks" / block).glob("*.npy")).write_bytes(b"")
    opened = CaptionGallery.open(gallery, scorer.bundle)
    with pytest.raises(GalleryError, match="is damaged") as told:
        opened.arrays(opened.blocks[0])
    monkeypatch.setenv("SHAN_MODEL", str(bundle_path))
    followed(str(told.value))
    repaired = CaptionGallery.open(gallery, scorer.bundle)
    assert repaired.arrays(repaired.blocks[0])


def test_a_gallery_of_captions_without_manifest_names_the_command(
    collection: Collection, bundle_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("SHAN_MODEL", str(bundle_path))
    gallery = collection.gallery.parent / "captions"
    (gallery / "manifest.json").unlink()
    followed(refusal("search", "two dogs", "--gallery", gallery))
    assert "search it with a photo alone" in refusal("search", "two dogs", "--gallery", gallery)


def test_each_file_of_a_lost_block_is_told_once(collection: Collection) -> None:
    shutil.rmtree(next((collection.gallery / "blocks").iterdir()))
    told = [line.split(" is ")[0] for line in shan("verify", "photos").stderr.splitlines() if "/blocks/" in line]
    assert len(told) > 5
    assert len(set(told)) == len(told)


def test_a_bundle_that_a_gallery_has_lost_is_told_and_copied_again(collection: Collection, bundle_path: Path) -> None:
    (kept,) = (collection.gallery / "bundles").iterdir()
    shutil.rmtree(kept)
    assert f"the bundle {kept} is missing" in shan("verify", "photos").stderr
    assert shan("repair", "photos", "--model", bundle_path).returncode == 0
    assert {file.name for file in kept.iterdir()} == {file.name for file in bundle_path.iterdir() if file.is_file()}


@pytest.mark.parametrize("lost", ["store", "store/data.mdb"])
def test_a_lost_store_of_a_collection_sends_to_update(collection: Collection, lost: str) -> None:
    path = collection.store.parent / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    done = shan("verify", "photos")
    assert f"the store {collection.store} has lost its data.mdb: run `shan-engine update`" in done.stderr
    assert f"{collection.gallery}: a gallery, all 12 images are intact" in done.stderr
    assert refusal("repair", "photos").endswith("run `shan-engine update`")


def test_a_repaired_store_of_a_collection_sends_to_update(collection: Collection) -> None:
    with FeatureStore.open(collection.store) as store:
        features = store.read(["photo7"])[0].features.tobytes()
    data = (collection.store / "data.mdb").read_bytes()
    place = data.index(features[:64])
    (collection.store / "data.mdb").write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
    assert "then run `shan-engine update`" in shan("verify", "photos").stderr
    assert refusal("repair", "photos").endswith("run the command again with --yes to leave that out")
    done = shan("repair", "photos", "--yes")
    assert "left out" in done.stderr
    assert "image 'photo7'" in done.stderr
    assert shan("verify", "photos").returncode == 0


def test_a_gallery_without_a_known_store_asks_for_it(things: Path, tmp_path: Path) -> None:
    gallery = Path(shutil.copytree(things / "gallery", tmp_path / "gallery"))
    next(gallery.glob(f"blocks/*/{LIST}")).unlink()
    assert "without its store: name that with --store" in shan("repair", gallery).stderr


def test_manifests_name_the_repair(things: Path, tmp_path: Path) -> None:
    for name, load in {"gallery": GalleryManifest.load, "captions": CaptionManifest.load}.items():
        at = Path(shutil.copytree(things / name, tmp_path / name))
        (at / "manifest.json").write_text("[]")
        with pytest.raises(Exception, match=f"run `shan-engine repair {at}"):
            load(at)


@pytest.mark.parametrize(("part", "file"), [("gallery", LIST), ("store", "data.mdb"), ("gallery", "manifest.json")])
def test_a_file_that_the_user_may_not_read_is_not_called_damaged(
    collection: Collection, monkeypatch: Any, part: str, file: str
) -> None:
    """Root may read everything, so the system's answers are made up."""
    denied = next((collection.gallery.parent / part).rglob(file))
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != denied and access(path, mode))
    for command in ("verify", "repair"):
        assert f"cannot read {denied}: Permission denied" in refusal(command, "photos")


def test_a_search_says_that_it_may_not_read_a_file(collection: Collection, bundle_path: Path, monkeypatch: Any) -> None:
    def denied(path: Path) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(block_files, "file_checksum", denied)
    sentence = refusal("search", "two dogs", "--model", bundle_path)
    assert sentence.endswith("Permission denied; check its permissions and its disk")
