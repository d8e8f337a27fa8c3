"""A gallery keeps the bundle that made it, and changes to a new one beside itself, in real processes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from in_process import output_of, refusal, shan
from installed import environment
from shan_engine.bundle.contents import Bundle
from shan_engine.bundle.manifest import Manifest
from shan_engine.gallery.manifest import GalleryManifest
from shan_engine.gallery.reader import Gallery
from tiny import make_record, make_store

QUERY = ("search", "a dog runs over the grass", "--no-explain", "--top-k", "3", "--json")
# Blocks of 10 images; the process kills itself as the given event comes for the given time.
KILLED = """
import os, signal, sys, types
from pathlib import Path
from shan_engine.bundle.contents import Bundle
from shan_engine.indexing import remake
from shan_engine.indexing.images import BlockSizes
from shan_engine.scoring.scorer import Scorer
from shan_engine.store.feature_store import FeatureStore

store, gallery, model, event, count = sys.argv[1:]
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
if event == "moved":
    rename, moved = Path.rename, []
    def renamed(path, target):
        if path.parent.name == "blocks" and path.parent.parent.name.endswith(".new"):
            moved.append(path)
            len(moved) > int(count) and die()
        return rename(path, target)
    Path.rename = renamed
if event == "swapped":
    remake.shutil = types.SimpleNamespace(rmtree=die)
with FeatureStore.open(Path(store)) as opened:
    remake.remake_gallery(
        opened, Scorer(Bundle.open(Path(model)), "cpu"), Path(gallery), sizes=BlockSizes(images=10),
        on_images=lambda done: die() if event == "encoded" and done > int(count) else None,
    )
"""


@pytest.fixture
def collection(bundle_path, tmp_path):
    """A gallery of 35 images, made by a bundle that is gone afterwards."""
    make_store(tmp_path / "s", range(35)).close()
    old = shutil.copytree(bundle_path, tmp_path / "old")
    output_of("index", tmp_path / "s", "--output", tmp_path / "g", SHAN_MODEL=str(old))
    before = answer(tmp_path / "g", old)
    shutil.rmtree(old)
    return tmp_path, before


def answer(gallery, model):
    (found,) = json.loads(output_of(*QUERY, "--gallery", gallery, SHAN_MODEL=str(model)))
    return [(hit["id"], hit["score"]) for hit in found["hits"]]


def test_an_old_gallery_is_searched_and_indexed_with_its_own_bundle(collection, local_bundle, bundle_path):
    folder, before = collection
    moved = (folder / "g").rename(folder / "moved")
    assert answer(moved, local_bundle) == before
    sentence = refusal(*QUERY, "--gallery", moved, "--model", local_bundle)
    assert "was made by bundle" in sentence
    with make_store(folder / "more", range(35)) as store:
        store.write([make_record(35)])
    output_of("index", folder / "more", "--output", moved, SHAN_MODEL=str(local_bundle))
    own = Manifest.load(bundle_path).fingerprint
    assert (len(Gallery.open(moved)), Gallery.open(moved).manifest.fingerprint) == (36, own)
    output_of("gallery", "split", moved, "--parts", "2", "--output", folder / "parts")
    assert answer(folder / "parts" / "part-000", local_bundle)


def test_a_gallery_without_a_bundle_needs_the_one_that_made_it(collection, local_bundle, bundle_path):
    folder, before = collection
    shutil.rmtree(folder / "g" / "bundles")
    assert "was made by bundle" in refusal(*QUERY, "--gallery", folder / "g", SHAN_MODEL=str(local_bundle))
    assert answer(folder / "g", bundle_path) == before


@pytest.mark.parametrize("event", [("encoded", 15), ("moved", 1), ("swapped", 0)])
def test_a_change_that_is_killed_goes_on_and_the_old_gallery_is_searchable(event, collection, local_bundle):
    folder, before = collection
    output_of("index", folder / "s", "--output", folder / "fresh", "--model", local_bundle)
    expected = answer(folder / "fresh", local_bundle)
    arguments = [folder / "s", folder / "g", local_bundle, *event]
    killed = subprocess.run([sys.executable, "-c", KILLED, *map(str, arguments)], check=False, env=environment())
    assert killed.returncode == -9
    assert answer(folder / "g", local_bundle) == (expected if event[0] == "swapped" else before)
    done = shan(
        "index", folder / "s", "--output", folder / "g", "--model", "new", "--json", SHAN_MODEL=str(local_bundle)
    )
    assert done.returncode == 0, done.stderr
    added = {"encoded": 25, "moved": 0, "swapped": 0}[event[0]]
    assert json.loads(done.stdout)["added"] == added
    if event[0] == "encoded":
        assert "25 images to encode, in about 1 second" in done.stderr
    new = Manifest.load(local_bundle).fingerprint
    assert GalleryManifest.load(folder / "g").fingerprint == new
    assert not (folder / "g.new").exists()
    assert dict(answer(folder / "g", local_bundle)) == pytest.approx(dict(expected))
    output_of("index", folder / "s", "--output", folder / "g", SHAN_MODEL=str(local_bundle))
    (kept,) = (folder / "g" / "bundles").iterdir()
    assert Bundle.open(kept).manifest.fingerprint == new


def test_photos_of_another_extractor_are_extracted_first(collection, seeing_bundle):
    folder, before = collection
    sentence = refusal("index", folder / "s", "--output", folder / "g", "--model", "new", SHAN_MODEL=str(seeing_bundle))
    assert "extract the 35 photos again" in sentence
    assert f"--output {folder / 'g'} --model new" in sentence
    assert answer(folder / "g", seeing_bundle) == before
