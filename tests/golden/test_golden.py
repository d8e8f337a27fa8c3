"""Files of each kind and format version, as they were once written: every later version reads them and scores alike."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from golden.make import IMAGES, measure, seen_record
from resigned import sign_fields
from shan_engine.base.errors import BackendError, BundleError, GalleryError, StoreError
from shan_engine.bundle.contents import Bundle
from shan_engine.bundle.manifest import Manifest
from shan_engine.bundle.plans import PlanSet
from shan_engine.gallery.captions import CaptionManifest
from shan_engine.gallery.manifest import GalleryManifest
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.schema import read_schema
from stores import assert_same
from tiny import make_record

FOLDER = Path(__file__).parent
LOADERS = {
    "bundle-2": ("manifest.json", Manifest.load, BundleError, "export its checkpoint again with `shan-engine export`"),
    "gallery-2": (
        "manifest.json",
        GalleryManifest.load,
        GalleryError,
        "index the store into a new gallery with `shan-engine index`",
    ),
    "captions-1": (
        "manifest.json",
        CaptionManifest.load,
        GalleryError,
        "make the gallery again with `shan-engine index-captions`",
    ),
    "plans-1": ("plans.json", PlanSet.load, BackendError, "run `shan-engine compile .*` again"),
}


@pytest.fixture
def golden(tmp_path):
    """A copy, as a store and a gallery are locked where they lie."""
    return Path(shutil.copytree(FOLDER, tmp_path / "golden", ignore=shutil.ignore_patterns("__pycache__", "*.py")))


def test_scores_are_those_of_the_version_that_wrote_the_files(golden):
    found, wanted = measure(golden), json.loads((golden / "scores.json").read_text())
    for kind, scores in wanted.items():
        assert found[kind].keys() == scores.keys()
        for id, held in scores.items():
            assert found[kind][id] == pytest.approx(held, abs=1e-6), id


def test_a_stores_records_are_those_that_were_written(golden):
    with FeatureStore.open(golden / "store-1") as store:
        for number, record in enumerate(store.read([f"photo{number}" for number in range(IMAGES)])):
            wanted = make_record(number)
            assert (record.features == wanted.features).all()
            assert (record.path, record.width, record.height) == (wanted.path, 100, 100)


def test_a_store_knows_what_its_photos_were_seen_as(golden):
    with FeatureStore.open(golden / "store-2") as store:
        for number, record in enumerate(store.read(["photo0", "photo1"])):
            assert_same(record, seen_record(number))


def test_a_checkpoint_loads(golden):
    from shan_model.checkpoint import load_checkpoint

    model, tokenizer = load_checkpoint(golden / "checkpoint-1")
    assert model.config.to_dict() == json.loads((golden / "checkpoint-1" / "config.json").read_text())
    assert tokenizer is not None


def test_a_jobs_result_can_be_resumed_from(golden):
    pyarrow = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.read_table(golden / "result-1.parquet")
    fields = json.loads(table.schema.metadata[b"shan-engine"])
    assert (table.num_rows, fields["version"], fields["direction"]) == (10, 1, "text-to-image")
    assert fields["bundle"] == Bundle.open(golden / "bundle-2").manifest.fingerprint


@pytest.mark.parametrize("kind", LOADERS)
def test_a_manifest_saved_again_is_the_same_file(golden, kind):
    name, load, _, _ = LOADERS[kind]
    before = (golden / kind / name).read_bytes()
    load(golden / kind).save(golden / kind)
    assert (golden / kind / name).read_bytes() == before


@pytest.mark.parametrize("kind", LOADERS)
def test_another_schema_is_an_error_that_names_a_command(golden, kind):
    name, load, error, remake = LOADERS[kind]
    own = int(kind[-1])
    sign_fields(golden / kind / name, version=own + 1)
    with pytest.raises(error, match=f"has schema {own + 1}, newer than {own}: upgrade shan-engine"):
        load(golden / kind)
    if own > 1:
        sign_fields(golden / kind / name, version=own - 1)
        with pytest.raises(error, match=f"has schema {own - 1}, older than {own}: {remake}"):
            load(golden / kind)
    fields = json.loads((golden / kind / name).read_text())
    (golden / kind / name).write_text(json.dumps({**fields, "version": own}))  # its digest is another's now
    rebuilt = kind in ("gallery-2", "captions-1")
    fix = f"run `shan-engine repair {golden / kind}" if rebuilt else remake.replace("its checkpoint", "the bundle")
    with pytest.raises(error, match=fix):
        load(golden / kind)


def test_a_newer_store_asks_for_an_upgrade(tmp_path):
    with pytest.raises(StoreError, match="has schema 3, newer than 2: upgrade shan-engine"):
        read_schema(tmp_path, b'{"version": 3}')
