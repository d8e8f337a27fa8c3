"""Plans built by TensorRT for RTX, which needs no GPU for it. Running them does: that is not tested here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from in_process import refusal, shan
from onnx import TensorProto, helper, numpy_helper
from shan_engine.backends.onnx_runtime.graph import OnnxRuntimeGraph
from shan_engine.backends.tensorrt.available import import_tensorrt
from shan_engine.base.errors import BackendError, BundleError, InputError
from shan_engine.bundle.contents import Bundle
from shan_engine.bundle.plans import ENGINES, Limits, PlanSet, find_plans, graph_digests
from shan_export.tensorrt import check
from shan_export.tensorrt.compile import compile_bundle
from shan_export.tensorrt.compiler import Compiler
from shan_export.tensorrt.plan_graphs import with_wide_integers
from tiny import EXTRACTOR

trt = pytest.importorskip("tensorrt_rtx")

ARCHITECTURES = ["sm_86", "sm_120"]


@pytest.fixture
def captioned(gallery_path, tmp_path):
    """The tiny gallery with captions, made up."""
    words = ["a dog", "a red hat", "two children play", "man rides bike", "a cat sleeps in the grass"]
    lines = ["split\timage\tcaption"] + [f"test\tphoto{n}\t{words[n % 5]} in the water" for n in range(40)]
    table = tmp_path / "captions.tsv"
    table.write_text("\n".join(lines) + "\n")
    return gallery_path, table, "test", 40


def test_packed_weights_compile(tmp_path):
    """TensorRT takes constants of 8 bits for quantised ones."""
    nodes = [
        helper.make_node("Cast", ["weight"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["x", "wide"], ["product"]),
        helper.make_node("Gather", ["codes", "row"], ["code"]),
        helper.make_node("Cast", ["code"], ["coded"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["product", "coded"], ["y"]),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["captions", 4]),
        helper.make_tensor_value_info("row", TensorProto.INT64, ["captions"]),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["captions", 3])]
    constants = [
        numpy_helper.from_array(np.arange(-6, 6, dtype=np.int8).reshape(4, 3), "weight"),
        numpy_helper.from_array(np.arange(240, 255, dtype=np.uint8).reshape(5, 3), "codes"),
    ]
    graph = helper.make_graph(nodes, "packed", inputs, outputs, constants)
    packed = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    feeds = {"x": np.eye(4, dtype=np.float32)[:2], "row": np.array([4, 0])}
    results = []
    for name in ("packed", "wide"):
        onnx.save(packed if name == "packed" else with_wide_integers(packed), tmp_path / name)
        results.append(OnnxRuntimeGraph(tmp_path / name, "cpu").run(feeds)["y"])
    np.testing.assert_array_equal(*results)
    compiler = Compiler(import_tensorrt("tensorrt_rtx"), ["sm_86"])
    assert compiler.build(onnx.load(tmp_path / "wide"), Limits())


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
def test_every_graph_compiles_in_every_precision(bundle_copy, captioned, monkeypatch, precision):
    monkeypatch.setattr(check, "ALLOWED_LOSS", dict.fromkeys(check.ALLOWED_LOSS, 100.0))
    seen, stages = [], []
    plans, new = compile_bundle(
        bundle_copy,
        precision=precision,
        architectures=ARCHITECTURES,
        captioned=captioned,
        on_progress=lambda done, total: seen.append((done, total)),
        on_stage=stages.append,
    )
    assert new
    folder = bundle_copy / ENGINES / plans.name
    assert PlanSet.load(folder) == plans
    assert set(plans.files) == {f"{name}.plan" for name in ("image_encoder", "text_encoder", "pair_scorer")}
    assert all((folder / name).stat().st_size > 10_000 for name in plans.files)
    assert plans.architectures == ("sm_86", "sm_120")
    assert plans.graphs == graph_digests(Bundle.open(bundle_copy))
    assert len(seen) > 100
    assert all(done <= total for done, total in seen)
    assert stages[-3:] == [f"compiling {name}" for name in ("image_encoder", "text_encoder", "pair_scorer")]
    if precision == "fp32":
        assert plans.check.recall_change is None
    else:
        assert 0 < plans.check.largest_score_difference < 0.5
        assert plans.check.images == plans.check.captions == 40
        assert set(plans.check.recall_change) == {
            f"{way}_retrieval_r{k}" for way in ("text", "image") for k in (1, 5, 10)
        }
    version = trt.__version__
    found, held = find_plans(Bundle.open(bundle_copy), compiler="tensorrt_rtx", version=version, architecture="sm_86")
    assert (found, held) == (folder, plans)
    with pytest.raises(BackendError, match="no plans for sm_89"):
        find_plans(Bundle.open(bundle_copy), compiler="tensorrt_rtx", version=version, architecture="sm_89")


@pytest.mark.parametrize(
    "variant",
    [
        {"direction": "i2t"},
        pytest.param({"direction": "t2i", "steps": ["l2l", "g2l"]}, marks=pytest.mark.slow),
        pytest.param({"steps": ["l2l"]}, marks=pytest.mark.slow),
    ],
)
def test_other_variants_compile(make_checkpoint, exported, tmp_path, variant):
    exported(make_checkpoint(**variant).folder, tmp_path / "bundle", feature_extractor_name=EXTRACTOR)
    plans, _ = compile_bundle(tmp_path / "bundle", precision="fp16", architectures=["sm_89"])
    assert len(plans.files) == 3


def test_plans_are_kept_and_stale_ones_made_again(bundle_copy, local_bundle, tmp_path):
    plans, _ = compile_bundle(bundle_copy, architectures=["sm_86"])
    folder = bundle_copy / ENGINES / plans.name
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert compile_bundle(bundle_copy, architectures=["sm_86"]) == (plans, False)
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == before
    larger, new = compile_bundle(bundle_copy, architectures=["sm_86"], max_images=300)
    assert (new, larger.limits.images) == (True, 300)
    (folder / "text_encoder.plan").write_bytes(b"spoilt")
    mended, new = compile_bundle(bundle_copy, architectures=["sm_86"], max_images=300)
    assert new
    mended.refuse_stale(Bundle.open(bundle_copy), folder)
    # The plans of a bundle that another one has replaced.
    other = Path(shutil.copytree(local_bundle, tmp_path / "other")) / ENGINES
    other.mkdir()
    folder.rename(other / folder.name)
    again, new = compile_bundle(tmp_path / "other", architectures=["sm_86"], max_images=300)
    assert new
    assert again.graphs != mended.graphs
    assert sorted(path.name for path in other.iterdir()) == ["compile.lock", folder.name]


def test_an_interrupted_build_leaves_nothing(bundle_copy):
    def interrupt(done, total):
        if done == 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compile_bundle(bundle_copy, architectures=["sm_86"], on_progress=interrupt)
    assert [path.name for path in (bundle_copy / ENGINES).iterdir()] == ["compile.lock"]


def test_a_precision_that_loses_too_much_is_no_plan(bundle_copy, captioned, monkeypatch):
    monkeypatch.setattr(check, "ALLOWED_LOSS", dict.fromkeys(check.ALLOWED_LOSS, -200.0))
    settings = {"precision": "bf16", "architectures": ["sm_86"], "captioned": captioned}
    with pytest.raises(BundleError, match=r"in bf16 text_retrieval_r1 loses .* over 40 images, more than -200"):
        compile_bundle(bundle_copy, **settings)
    assert not list((bundle_copy / ENGINES).glob("bf16*"))
    assert compile_bundle(bundle_copy, **settings, allow_loss=True)[1]


def test_int8_wants_real_images(bundle_copy):
    with pytest.raises(InputError, match="give --gallery and --captions"):
        compile_bundle(bundle_copy, precision="int8", architectures=["sm_86"])


def test_the_command(bundle_copy, captioned, checkpoint, tmp_path):
    assert "cannot compile for sm_90: choose one of sm_75, sm_80" in refusal(
        "compile", bundle_copy, "--gpu-arch", "sm_90"
    )
    assert "'86' is not a GPU architecture" in refusal("compile", bundle_copy, "--gpu-arch", "86")
    assert "there is no bundle at" in refusal("compile", tmp_path / "none")
    assert "give both --gallery and --captions" in refusal("compile", bundle_copy, "--gallery", captioned[0])
    done = shan("compile", bundle_copy, "--precision", "fp16", "--gpu-arch", "sm_89,sm_86", "--json")
    told = json.loads(done.stdout)
    assert told["architectures"] == ["sm_86", "sm_89"]
    assert told["check"]["recall_change"] is None
    assert "scores differ by" in done.stderr
    assert "recall not measured" in done.stderr
    assert "there already" in shan("compile", bundle_copy, "--precision", "fp16", "--gpu-arch", "sm_86,sm_89").stderr
    exported = tmp_path / "exported"
    shan("export", checkpoint.folder, "--output", exported, "--tensorrt", "--gpu-arch", "sm_120")
    assert [path.name for path in (exported / ENGINES).glob("fp32-sm_120-*/pair_scorer.plan")] == ["pair_scorer.plan"]
