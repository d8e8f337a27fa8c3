"""Galleries of which `index` removes what a search or a job that began earlier is still to read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from in_process import output_of, shan
from job_runs import as_queries
from shan_engine import api
from shan_engine.base.errors import GalleryError
from shan_engine.gallery.manifest import GalleryManifest
from shan_engine.indexing.images import index_store
from shan_engine.integrity import verify
from shan_engine.integrity.findings import Finding
from shan_engine.jobs.run import score_job
from shan_engine.store.feature_store import FeatureStore
from tiny import CAPTIONS, make_record, make_store


@pytest.fixture
def gallery(scorer, tmp_path) -> Path:
    with make_store(tmp_path / "store", range(6)) as store:
        index_store(store, scorer, tmp_path / "gallery")
    return tmp_path / "gallery"


def replace_all(gallery: Path, scorer) -> None:
    """Index other features of all images, and again: the first ones' files are gone."""
    with FeatureStore.open(gallery.with_name("store"), readonly=False) as store:
        for seed in (1, 2):
            store.write([make_record(number, seed=seed) for number in range(6)])
            index_store(store, scorer, gallery)


def found(engine) -> list[tuple[str, float]]:
    return [(hit.image.id, hit.score) for hit in engine.search(CAPTIONS[0], explain=False)]


def test_a_search_whose_photos_are_gone_begins_anew(gallery, scorer, bundle_path):
    with api.open(gallery, bundle_path, device="cpu", threads=1) as engine:
        replace_all(gallery, scorer)
        answer = found(engine)
    with api.open(gallery, bundle_path, device="cpu", threads=1) as engine:
        assert found(engine) == answer


def test_a_job_whose_photos_are_gone_says_so(gallery, scorer, bundle_path, tmp_path):
    with api.open(gallery, bundle_path, device="cpu", threads=1) as engine:
        replace_all(gallery, scorer)
        with pytest.raises(GalleryError, match=r"other programs have changed the gallery .* run the command again"):
            score_job(engine.scorer, [engine.gallery], as_queries(CAPTIONS), tmp_path / "r.parquet")
    (tmp_path / "captions.txt").write_text("\n".join(CAPTIONS))
    job = ("--queries", tmp_path / "captions.txt", "--output", tmp_path / "r.parquet", "--model", bundle_path)
    output_of("score", "--gallery", gallery, *job, "--restart")


def test_a_check_whose_photos_are_gone_begins_anew(gallery, scorer, monkeypatch):
    checked = []

    def check(path, fix):
        manifest = GalleryManifest.load(path)
        if not checked:
            replace_all(gallery, scorer)  # as another process does just now
        checked.append(manifest)
        for entry in manifest.blocks:
            if not (path / "blocks" / entry.name).exists():
                yield Finding("array", entry.name, f"{entry.name} is missing")
        yield 6

    monkeypatch.setattr(verify, "_events", lambda kind, path, fix: check(path, fix))
    (verdict,) = verify.verify(gallery)
    assert verdict.sound
    assert len(checked) == 2


def test_a_file_that_the_gallery_still_names_is_missing(gallery, bundle_path):
    shutil.rmtree(next((gallery / "blocks").iterdir()))
    done = shan("search", "a dog", "--gallery", gallery, "--model", bundle_path)
    assert done.returncode == 1
    assert "is missing" in done.stderr
    assert f"run `shan-engine repair {gallery} --store STORE`" in done.stderr
