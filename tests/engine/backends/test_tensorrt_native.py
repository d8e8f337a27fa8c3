"""The control flow of the native TensorRT back end, over a stand-in (fake_gpu.py): nothing here is a GPU's doing."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from fake_gpu import FakeGpu
from msgspec.structs import replace
from shan_engine.backends.interface import OutOfDeviceMemoryError
from shan_engine.backends.tensorrt.graph import TensorRtPlans
from shan_engine.base.errors import BackendError, InputError
from shan_engine.base.files import sha256
from shan_engine.bundle.contents import Bundle
from shan_engine.bundle.plans import ENGINES, Limits, PlanSet, PrecisionCheck, graph_digests
from shan_engine.gallery.reader import Gallery
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.answer import search
from shan_export.tensorrt.plan_graphs import convert_graphs, plan_graphs

QUERIES = ["a dog runs over the grass .", "man rides bike", "two children play in the water", "a cat"]


@pytest.fixture
def install(monkeypatch):
    """Put a pretended GPU and compiler in the place of NVIDIA's."""

    def put(name="tensorrt", version="11.4.0", **gpu):
        fake = FakeGpu(**gpu)
        bindings = pytest.importorskip("cuda.bindings")
        monkeypatch.setattr(bindings, "runtime", fake.runtime, raising=False)
        monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", fake.runtime)
        for other in ("tensorrt", "tensorrt_rtx"):
            monkeypatch.setitem(sys.modules, other, fake.tensorrt(name, version) if other == name else None)
        return fake

    return put


def write_plans(bundle_path, *, name="tensorrt", version="11.4.0", precision="fp32", images=6, architecture="sm_89"):
    """A set of "plans" that the stand-in can run."""
    bundle = Bundle.open(bundle_path)
    plans = PlanSet(
        name, version, precision, (architecture,), Limits(images=images), PrecisionCheck(0.0), graph_digests(bundle), {}
    )
    folder = bundle_path / ENGINES / plans.name
    folder.mkdir(parents=True)
    for graph, model in convert_graphs(plan_graphs(bundle), precision, ()).items():
        onnx.save(model, str(folder / f"{graph}.plan"))
    replace(plans, files={file.name: sha256(file) for file in folder.iterdir()}).save(folder)
    return folder


def results(found):
    return [[(hit.image.id, hit.score) for hit in query.hits] for query in found]


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt_rtx"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_search_through_plans_is_the_search(install, bundle_copy, gallery_path, scorer, name, precision):
    fake = install(name)
    folder = write_plans(bundle_copy, name=name, precision=precision)
    bundle = Bundle.open(bundle_copy)
    gallery = Gallery.open(gallery_path, bundle)
    native = Scorer(bundle, backend="tensorrt")
    found, expected = (search(one, gallery, QUERIES, top_k=7, explain=False) for one in (native, scorer))
    for ours, theirs in zip(results(found), results(expected), strict=True):
        tolerance = 1e-5 if precision == "fp32" else 3e-3
        np.testing.assert_allclose([score for _, score in ours], [score for _, score in theirs], rtol=0, atol=tolerance)
        if precision == "fp32":
            assert [id for id, _ in ours] == [id for id, _ in theirs]
    # 41 images in calls of 6 are six equal calls and a smaller one: TensorRT replays graphs of the equal ones here,
    # TensorRT for RTX does so itself, and leaves the kernels that it compiled.
    assert (fake.launches > 0) == (name == "tensorrt")
    assert [file.read_bytes() for file in folder.glob("*.kernels")] == [b"kernels"] * (
        2 if name == "tensorrt_rtx" else 0
    )


def test_several_batches_of_captions_meet_every_image_once(install, bundle_copy, gallery_path, scorer):
    install()
    write_plans(bundle_copy)
    bundle = Bundle.open(bundle_copy)
    gallery = Gallery.open(gallery_path, bundle)
    queries = QUERIES * 20
    found, expected = (
        search(one, gallery, queries, top_k=41, explain=False) for one in (Scorer(bundle, backend="tensorrt"), scorer)
    )
    for ours, theirs in zip(results(found), results(expected), strict=True):
        assert {id for id, _ in ours} == {id for id, _ in theirs}
        np.testing.assert_allclose(dict(ours)["photo5"], dict(theirs)["photo5"], rtol=0, atol=1e-5)


def test_a_call_that_does_not_fit_the_memory_is_made_in_parts(install, bundle_copy, gallery_path, scorer):
    write_plans(bundle_copy, images=40)
    bundle = Bundle.open(bundle_copy)
    gallery = Gallery.open(gallery_path, bundle)
    expected = results(search(scorer, gallery, QUERIES, top_k=41, explain=False))
    roomy = install()
    native = Scorer(bundle, backend="tensorrt")
    search(native, gallery, QUERIES, explain=False)
    needed = (1 << 30) - roomy.free
    tight = install(memory=needed // 2)
    halved = Scorer(bundle, backend="tensorrt")
    found = results(search(halved, gallery, QUERIES, top_k=41, explain=False))
    assert tight.free >= 0
    for ours, theirs in zip(found, expected, strict=True):
        assert [id for id, _ in ours] == [id for id, _ in theirs]
        np.testing.assert_allclose([s for _, s in ours], [s for _, s in theirs], rtol=0, atol=1e-5)
    install(memory=2000)
    with pytest.raises(OutOfDeviceMemoryError, match="the GPU's memory is full"):
        search(Scorer(bundle, backend="tensorrt"), gallery, QUERIES, explain=False)


def test_a_shape_beyond_the_plan_is_named(install, bundle_copy):
    install()
    write_plans(bundle_copy)
    scorer_plan = TensorRtPlans(Bundle.open(bundle_copy)).load("image_encoder")
    features = np.zeros((65, 9, 24), np.float32)
    with pytest.raises(
        InputError, match=r"accepts 'features' of shapes \(1, 1, 24\) to \(64, 64, 24\), not \(65, 9, 24\)"
    ):
        scorer_plan.run({"features": features, "region_mask": np.ones((65, 9), np.bool_)})
    small = {"features": features[:2], "region_mask": np.ones((2, 9), np.bool_)}
    assert scorer_plan.run(small)["image_regions"].shape == (2, 9, 32)


def test_what_is_missing_is_said(install, bundle_copy, monkeypatch):
    bundle = Bundle.open(bundle_copy)

    def refused(**options):
        with pytest.raises(BackendError) as caught:
            Scorer(bundle, backend="tensorrt", **options)
        return str(caught.value)

    install(count=0)
    assert "CUDA finds no GPU (cudaErrorNoDevice)" in refused()
    install()
    assert "has no plans for sm_89, tensorrt 11.4.0 (there: none)" in refused()
    write_plans(bundle_copy, architecture="sm_86")
    assert "(there: fp32-sm_86-tensorrt-11.4.0): run `shan-engine compile" in refused()
    folder = write_plans(bundle_copy)
    assert "has no fp16 plans for sm_89" in refused(precision="fp16")
    Scorer(bundle, backend="tensorrt")
    plan = folder / "pair_scorer.plan"
    plan.write_bytes(plan.read_bytes()[:-1])
    assert "pair_scorer.plan is not the plan that was compiled" in refused()
    assert "leave out --device cpu" in refused(device="cpu")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert "tensorrt or tensorrt_rtx is not installed: pip install '.[tensorrt-rtx]'" in refused()
    with pytest.raises(BackendError, match="only TensorRT's plans have a precision"):
        Scorer(bundle, precision="fp16")


def test_plans_of_other_graphs_are_refused(install, bundle_copy, local_bundle, tmp_path):
    install()
    folder = write_plans(bundle_copy)
    other = Path(shutil.copytree(local_bundle, tmp_path / "other")) / ENGINES / folder.name
    other.parent.mkdir()
    folder.rename(other)
    with pytest.raises(BackendError, match="were made from other graphs"):
        Scorer(Bundle.open(tmp_path / "other"), backend="tensorrt")


def test_a_broken_plan_is_refused_with_the_librarys_reason(install, bundle_copy):
    install()
    folder = write_plans(bundle_copy)
    (folder / "text_encoder.plan").write_bytes(b"no plan")
    plans = PlanSet.load(folder)
    files = {**plans.files, "text_encoder.plan": sha256(folder / "text_encoder.plan")}
    replace(plans, files=files).save(folder)
    scorer = Scorer(Bundle.open(bundle_copy), backend="tensorrt")
    with pytest.raises(BackendError, match=r"cannot load .*text_encoder.plan \(the plan is broken\)"):
        scorer.encoders.encode_captions([[1, 5, 2]])
