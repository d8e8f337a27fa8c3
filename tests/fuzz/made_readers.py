"""Readers of what the engine writes: stores, bundles, jobs, lists of plans; galleries are in gallery_readers.py."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hostile import SOUND, keep, sign_job, sign_store
from reader import Reader, Shared
from resigned import sign_fields
from shan_engine.base.files import sha256
from tiny import CAPTIONS

ASKED = ["a dog runs", "a cat sleeps", "man rides bike"]
Made = Callable[[Path], None]


def is_data(path: Path) -> bool:
    return path.suffix != ".lock" and path.name != "lock.mdb" and path.suffix != SOUND and "bundles" not in path.parts


# Stores


def make_store(shared: Shared) -> Made:
    def make(folder: Path) -> None:
        from shan_engine.base.metadata import Metadata
        from shan_engine.store.contents import Content, Place
        from shan_engine.store.facts import StoredFacts
        from shan_engine.store.feature_store import FeatureStore
        from stores import SCHEMA, record
        from written_photos import write_texts

        with FeatureStore.create(folder / "store", SCHEMA) as store:
            for start in (0, 30):
                records = [record(f"photo{n}", n, 90 if n % 30 == 3 else 2) for n in range(start, start + 30)]
                places = {one.id: Content("ab" * 16, (Place(one.id, f"/x/{one.id}", "s"),)) for one in records}
                store.write(records, contents=places)
            store.put_facts({id: StoredFacts("s", {"camera": "Nikon"}) for id in store.ids()})
            store.put_metadata(Metadata({"year": "INTEGER"}, dict.fromkeys(store.ids(), (1990,))))
            store.delete([f"photo{n}" for n in range(10, 20)])
        write_texts(folder / "store", {"photo3": ["BUDGET 2024"]})
        (folder / "store" / "lock.mdb").unlink()
        keep(folder, folder / "store" / "data.mdb")

    return make


def read_store(folder: Path, path: Path) -> Any:
    from shan_engine.store.feature_store import FeatureStore

    with FeatureStore.open(folder / "store") as store:
        ids = store.ids()
        held = [(one.id, one.features.tobytes(), one.path) for one in store.read(ids)]
        table, known = store.metadata(), store.described()
        told = table and table.rows, store.facts(), store.contents(), list(store.texts()), known and known.rows
        return ids, store.infos(), held, *told


# Bundles


def make_bundle(shared: Shared) -> Made:
    return lambda folder: copy_into(shared.bundle, folder)


def copy_into(source: Path, folder: Path) -> None:
    shutil.copytree(source, folder, dirs_exist_ok=True)


def read_bundle(folder: Path, path: Path) -> Any:
    from shan_engine.bundle.contents import Bundle
    from shan_engine.scoring.scorer import Scorer

    bundle = Bundle.open(folder)
    assert bundle.classes is not None
    assert bundle.querybank is not None
    _ = bundle.learnt, bundle.learnt_word("dog")
    scorer = Scorer(bundle, "cpu", threads=1)
    captions = scorer.encoders.encode_captions([scorer.encoders.tokens(text) for text in CAPTIONS[:2]])
    mask = np.ones((2, 3), np.bool_)
    images = scorer.pairs.prepare(
        scorer.encoders.encode_images(np.ones((2, 3, min(bundle.manifest.feature_dim, 1000)), np.float32), mask)
    )
    scores = scorer.score_pairs(images, captions)
    return bundle.manifest.fingerprint, np.asarray(scores).tobytes()


def sign_bundle(folder: Path, path: Path) -> None:
    if path.name == "manifest.json":
        sign_manifest(path)
        return
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    sign_fields(folder / "manifest.json", files={**manifest["files"], path.name: sha256(path)})


def sign_manifest(path: Path) -> None:
    try:
        sign_fields(path)
    except (ValueError, RecursionError, AttributeError, TypeError):  # it is no manifest any more
        return


# Jobs and plans


def _job(shared: Shared, folder: Path, stop: Callable[[], bool] = lambda: False) -> Any:
    from job_runs import as_queries
    from shan_engine.gallery.reader import Gallery
    from shan_engine.jobs.options import JobOptions
    from shan_engine.jobs.run import score_job

    gallery = Gallery.open(folder.parent / "gallery", shared.scorer.bundle)
    options = JobOptions(top_k=3, block_pairs=24)
    return score_job(shared.scorer, [gallery], as_queries(ASKED), folder / "r.parquet", options=options, stop=stop)


def make_job(shared: Shared) -> Made:
    def make(folder: Path) -> None:
        """A gallery of 12 photos, which stays as it is, and a job over it that was stopped after two blocks."""
        from shan_engine.indexing.images import index_store
        from shan_engine.store.feature_store import FeatureStore

        copy_into(shared.store, folder / "store")
        with FeatureStore.open(folder / "store", readonly=False) as store:
            store.delete([f"photo{number}" for number in range(12, 120)])
            index_store(store, shared.scorer, folder / "gallery")
        shutil.rmtree(folder / "store")
        (folder / "job").mkdir()
        left = iter(range(2))
        _job(shared, folder / "job", lambda: next(left, None) is None)
        keep(folder, folder / "job" / "r.parquet.job" / "journal.sqlite")

    return make


def read_job(shared: Shared) -> Callable[[Path, Path], Any]:
    def read(folder: Path, path: Path) -> Any:
        import pyarrow.parquet

        assert _job(shared, folder / "job").finished
        return pyarrow.parquet.read_table(folder / "job" / "r.parquet").to_pylist()

    return read


def make_plans(shared: Shared) -> Made:
    def make(folder: Path) -> None:
        from shan_engine.bundle.plans import NAMES, Limits, PlanSet, PrecisionCheck, graph_digests

        plans = folder / "engines" / "fp32"
        plans.mkdir(parents=True)
        for name in NAMES:
            (plans / f"{name}.plan").write_bytes(name.encode())
        files = {path.name: sha256(path) for path in plans.iterdir()}
        graphs = graph_digests(shared.scorer.bundle)
        check = PrecisionCheck(1e-6, 3, 15, {"i2t_r1": 0.0})
        PlanSet("tensorrt_rtx", "1.7", "fp32", ("sm90",), Limits(), check, graphs, files).save(plans)

    return make


def read_plans(shared: Shared) -> Callable[[Path, Path], Any]:
    def read(folder: Path, path: Path) -> Any:
        from shan_engine.bundle.contents import Bundle
        from shan_engine.bundle.plans import find_plans

        bundle = Bundle(folder, shared.scorer.bundle.manifest)
        place, plans = find_plans(bundle, compiler="tensorrt_rtx", version="1.7", architecture="sm90")
        plans.refuse_stale(bundle, place)
        return plans.as_dict()

    return read


def sign_plans(folder: Path, path: Path) -> None:
    if path.name == "plans.json":
        sign_manifest(path)
        return
    listed = path.parent / "plans.json"
    files = json.loads(listed.read_text("utf-8"))["files"]
    sign_fields(listed, files={**files, path.name: sha256(path)})


def made_readers(shared: Shared) -> list[Reader]:
    def of_job(path: Path) -> bool:
        return path.parent.name.endswith(".job") and is_data(path)

    return [
        Reader(
            name="store",
            make=make_store(shared),
            read=read_store,
            changes=is_data,
            exact=True,
            sign=sign_store,
            tokens=(b"records", b"schema", b"photo3"),
        ),
        Reader(
            name="bundle",
            make=make_bundle(shared),
            read=read_bundle,
            changes=is_data,
            exact=True,
            sign=sign_bundle,
            megabytes=600,
        ),
        Reader(
            name="job",
            make=make_job(shared),
            read=read_job(shared),
            changes=of_job,
            exact=True,
            sign=sign_job,
            writes=True,
        ),
        Reader(name="plans", make=make_plans(shared), read=read_plans(shared), exact=True, sign=sign_plans),
    ]
