"""Search and score through the torch back end, in Triton's interpreter; which device it takes, and its refusals."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pyarrow.parquet as pq
import pytest

pytest.importorskip("triton")

import torch
from gallery_scores import by_id
from job_runs import as_queries
from shan_engine.backends.interface import Request
from shan_engine.backends.onnx_runtime.scorer import OnnxRuntime
from shan_engine.backends.table import open_runtime
from shan_engine.backends.torch_cuda import available as torch_device
from shan_engine.backends.torch_cuda.scorer import TorchCuda
from shan_engine.base.errors import BackendError, BundleError, GalleryError, InputError
from shan_engine.bundle.contents import Bundle
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.images import index_store
from shan_engine.jobs.options import JobOptions
from shan_engine.jobs.run import score_job
from shan_engine.kernel.constants import load_constants
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.answer import search
from shan_engine.store.feature_store import FeatureStore

QUERIES = ["a dog", "a man on grass"]
IDS = ["photo0", "photo3", "photo4", "photo40"]


@pytest.fixture(scope="module")
def on_torch(bundle_path) -> Scorer:
    return Scorer(Bundle.open(bundle_path), "cpu", backend="torch", threads=1)


@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
def test_a_search_finds_what_it_finds_on_cpu(storage, scorer, on_torch, store_path, tmp_path) -> None:
    with FeatureStore.open(store_path) as store:
        index_store(store, scorer, tmp_path / "gallery", dtype=storage)
    gallery = Gallery.open(tmp_path / "gallery").restricted_to(IDS)
    expected, found = (search(one, gallery, QUERIES, top_k=3) for one in (scorer, on_torch))
    tolerance = 1e-5 if storage == "float32" else 4e-3
    for one, other in zip(expected, found, strict=True):
        assert [hit.image.id for hit in one.hits] == [hit.image.id for hit in other.hits]
        np.testing.assert_allclose([hit.score for hit in other.hits], [hit.score for hit in one.hits], atol=tolerance)
        assert one.hits[0].words == other.hits[0].words
    one, other = (by_id(one, gallery, tmp_path, QUERIES) for one in (scorer, on_torch))
    for id in IDS:
        np.testing.assert_allclose(other[id], one[id], rtol=0, atol=tolerance, err_msg=id)


def test_a_gallery_is_held_until_another_is_asked_for(on_torch, gallery_path) -> None:
    gallery = Gallery.open(gallery_path)
    held = on_torch.held(gallery)
    assert on_torch.held(gallery) is held
    assert on_torch.held(Gallery.open(gallery_path)) is not held
    assert Scorer(on_torch.bundle, "cpu").held(gallery) is None


def test_the_first_groups_rows_are_the_first_queries(on_torch, gallery_path, monkeypatch) -> None:
    gallery = Gallery.open(gallery_path).restricted_to(IDS[:2])
    queries = ["a dog on the grass near a man", "a dog", "grass"]
    together = search(on_torch, gallery, queries, explain=False)
    monkeypatch.setattr("shan_engine.scoring.passes.GROUP_CAPTIONS", 2)
    for query, hits in zip(queries, search(on_torch, gallery, queries, explain=False), strict=True):
        assert hits == search(on_torch, gallery, [query], explain=False)[0]
    assert [hits.query for hits in together] == queries


def test_an_image_that_scores_nan_is_named(on_torch, gallery_path, monkeypatch) -> None:
    gallery = Gallery.open(gallery_path).restricted_to(IDS[:2])
    held = on_torch.held(gallery)
    nan = [(np.array([[np.nan, 1.0]] * 1, np.float32), np.array([[1, 0]]))]
    monkeypatch.setattr(held, "top_k", lambda *_: nan)
    with pytest.raises(GalleryError, match=r"image 'photo3' .* has a NaN or infinite score"):
        search(on_torch, gallery, QUERIES[:1])


def test_each_missing_piece_is_named_with_its_fix(monkeypatch) -> None:
    assert torch_device.usable_devices("cpu") == [torch.device("cpu")]
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(BackendError, match="scores only on CUDA: use --device cuda, or --backend onnxruntime"):
        torch_device.usable_devices("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    fault = r"the installed PyTorch .* is built without CUDA: pip uninstall torch, then .* or use --device cpu"
    with pytest.raises(BackendError, match=fault):
        torch_device.usable_devices("auto")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(
        BackendError, match="PyTorch finds no CUDA device: install NVIDIA's driver, or use --device cpu"
    ):
        torch_device.usable_devices("cuda")
    for missing in ("torch", "triton"):
        monkeypatch.setattr(
            torch_device, "find_spec", lambda name, lacks=missing: None if name == lacks else find_spec(name)
        )
        with pytest.raises(BackendError, match=rf"needs {missing}, which is not installed: pip install '\.\[cuda\]'"):
            torch_device.usable_devices("cuda")


def test_auto_takes_torch_for_cuda_alone_and_only_where_it_can(bundle_path, monkeypatch) -> None:
    bundle = Bundle.open(bundle_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert torch_device.usable_devices("cuda") == [torch.device("cuda", 0), torch.device("cuda", 1)]
    request = Request(bundle, load_constants(bundle), "cuda")
    assert isinstance(open_runtime(request, "auto"), TorchCuda)
    assert isinstance(open_runtime(request), OnnxRuntime)
    assert isinstance(open_runtime(replace(request, device="auto"), "auto"), OnnxRuntime)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert isinstance(open_runtime(request, "auto"), OnnxRuntime)
    with pytest.raises(BackendError, match=r"PyTorch (finds no CUDA device|.* is built without CUDA)"):
        Scorer(bundle, "cuda", backend="torch")


def test_another_model_is_refused(bundle_path) -> None:
    bundle = Bundle.open(bundle_path)
    del bundle.manifest.files["kernel.npz"]
    with pytest.raises(BundleError, match=r"the torch back end scores only SHAN, but .* is another model"):
        Scorer(bundle, "cpu", backend="torch")


def test_a_job_on_torch_has_the_scores_and_parts_of_one_on_cpu(scorer, on_torch, gallery_path, tmp_path) -> None:
    gallery = Gallery.open(gallery_path).restricted_to(IDS)
    found = {}
    for name, one in (("cpu", scorer), ("torch", on_torch)):
        score_job(one, [gallery], as_queries(QUERIES), tmp_path / f"{name}.parquet", options=JobOptions(top_k=4))
        found[name] = pq.read_table(tmp_path / f"{name}.parquet").to_pylist()
    assert len(found["cpu"]) == len(QUERIES) * len(IDS)
    for expected, row in zip(found["cpu"], found["torch"], strict=True):
        assert (row["query_id"], row["rank"], row["image_id"]) == tuple(
            expected[key] for key in ("query_id", "rank", "image_id")
        )
        for part in ("score", "l2l", "g2l", "g2g"):
            assert row[part] == pytest.approx(expected[part], abs=1e-5)


def test_a_job_goes_on_with_the_back_end_it_was_begun_with(scorer, on_torch, gallery_path, tmp_path) -> None:
    gallery = Gallery.open(gallery_path).restricted_to(IDS)
    options, output = JobOptions(block_pairs=2), tmp_path / "a.parquet"
    begun = score_job(scorer, [gallery], as_queries(QUERIES), output, options=options, stop=lambda: True)
    assert not begun.finished
    with pytest.raises(InputError, match=r"started with another back end \(onnxruntime cpu, now torch\)"):
        score_job(on_torch, [gallery], as_queries(QUERIES), output, options=options)
    assert score_job(scorer, [gallery], as_queries(QUERIES), output, options=options).finished
