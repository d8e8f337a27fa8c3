from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from shan_engine import doctor
from shan_engine.backends.onnx_runtime import available
from shan_engine.backends.onnx_runtime import graph as onnx_runtime
from shan_engine.base.errors import BackendError
from shan_engine.bundle.contents import Bundle
from shan_engine.doctor import Finding, examine
from shan_engine.gallery.reader import Gallery
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.answer import search


@pytest.fixture
def demo(tmp_path: Path, bundle_path: Path, gallery_path: Path) -> Path:
    """A demo of 41 images."""
    folder = tmp_path / "demo"
    shutil.copytree(bundle_path, folder / "bundle")
    shutil.copytree(gallery_path, folder / "gallery")
    (folder / "photos").mkdir()
    for n in range(41):
        (folder / "photos" / f"{n}.jpg").write_bytes(b"")
    return folder


def named(findings: list[Finding], name: str) -> Finding:
    (finding,) = (finding for finding in findings if finding.name == name)
    return finding


def test_a_sound_installation_has_no_errors(demo: Path) -> None:
    findings = examine(demo)
    assert [finding for finding in findings if finding.status == "error"] == []
    assert named(findings, "numpy").detail == np.__version__
    assert named(findings, "CPUExecutionProvider") == Finding("CPUExecutionProvider", "ok", "loads and runs")
    assert named(findings, "feature store").status == "ok"
    assert named(findings, "demo gallery").detail.startswith("41 images")
    assert named(findings, "demo photos") == Finding("demo photos", "ok", "all 41 found")
    assert "cores usable" in named(findings, "processor").detail


def test_every_fault_says_how_to_fix_it_and_nothing_else_does(tmp_path: Path) -> None:
    for finding in [*examine(None), *examine(tmp_path)]:
        assert bool(finding.fix) == (finding.status != "ok"), finding


@pytest.mark.parametrize(("choice", "status"), [("baseline", "ok"), ("off", "warning"), ("fastest", "error")])
def test_the_kernel_that_the_environment_chooses_is_said(monkeypatch, choice: str, status: str) -> None:
    monkeypatch.setenv("SHAN_KERNEL", choice)
    assert named(examine(None), "score kernel").status == status


def test_a_kernel_that_does_not_load_is_a_finding(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "shan_engine.kernel.library", None)
    assert named(examine(None), "score kernel").status == "error"


def test_no_demo_is_a_warning() -> None:
    assert named(examine(None), "demo").status == "warning"


def test_faults_of_the_demo_are_found(demo: Path) -> None:
    (demo / "photos" / "7.jpg").unlink()
    photos = named(examine(demo), "demo photos")
    assert photos.status == "warning"
    assert photos.detail.startswith("1 of 41 are missing")
    next(demo.glob("gallery/blocks/*/image_regions.npy")).write_bytes(b"")
    assert named(examine(demo), "demo gallery").status == "error"
    (demo / "bundle" / "vocab.json").write_text("changed")
    bundle = named(examine(demo), "demo bundle")
    assert bundle.status == "error"
    assert "vocab.json" in bundle.detail


def test_a_query_goes_through_the_demo(demo: Path) -> None:
    bundle = Bundle.open(demo / "bundle")
    best = search(Scorer(bundle, "cpu"), Gallery.open(demo / "gallery", bundle), ["a dog on grass"])[0].hits[0]
    finding = named(examine(demo), "demo search")
    assert finding.status == "ok"
    assert re.fullmatch(rf"'a dog on grass' finds {best.image.id} in \d+\.\d s", finding.detail)


def test_a_demo_whose_graphs_do_not_run_is_an_error(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(graph: Any, inputs: Mapping[str, Any], outputs: Any = None) -> Any:
        raise BackendError("ONNX Runtime failed: out of memory")

    monkeypatch.setattr(onnx_runtime.OnnxRuntimeGraph, "run", fail)
    finding = named(examine(demo), "demo search")
    assert (finding.status, finding.detail) == ("error", "ONNX Runtime failed: out of memory")
    assert finding.fix


def test_a_demo_whose_scores_are_not_finite_is_an_error(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = onnx_runtime.OnnxRuntimeGraph.run
    nan = {"scores": np.nan}

    def spoilt(graph: Any, inputs: Mapping[str, Any], outputs: Any = None) -> dict[str, Any]:
        return {name: array * nan.get(name, 1) for name, array in run(graph, inputs, outputs).items()}

    monkeypatch.setattr(onnx_runtime.OnnxRuntimeGraph, "run", spoilt)
    assert named(examine(demo), "demo search").status == "error"


def test_a_demo_named_from_the_working_folder_finds_its_photos(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo.parent)
    assert named(examine(Path("demo")), "demo photos").status == "ok"


def test_both_runtime_packages_at_once_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "1.20" if name in doctor.RUNTIMES else version(name))
    finding = named(examine(None), "onnxruntime packages")
    assert finding.status == "error"
    assert str(finding.fix).startswith("pip uninstall onnxruntime onnxruntime-gpu")
    assert str(finding.fix).endswith("then pip install '.[gpu]' (or '.[cpu]') in the project's folder")


def test_missing_packages_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", nothing)
    findings = examine(None)
    assert {name for name in doctor.REQUIRED if named(findings, name).status == "error"} == set(doctor.REQUIRED)
    assert named(findings, "onnxruntime packages").status == "error"
    # The project is not on a package index, so its own name cannot be installed.
    for name in ("shan-engine", "numpy", "onnxruntime packages"):
        assert named(findings, name).fix == "pip install '.[cpu]' (or '.[gpu]') in the project's folder"


def test_optional_packages_say_which_extra_brings_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    findings = examine(None)
    assert "pip install '.[train,export]' in the project's folder" in named(findings, "torch").detail
    assert "pip install '.[parquet]' in the project's folder" in named(findings, "pyarrow").detail


def test_a_provider_that_is_listed_but_replaced_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    class Session:
        def __init__(self, model: bytes, options: Any, providers: list[str]) -> None:
            if providers[0] == "BrokenExecutionProvider":
                raise RuntimeError("no such library\nsecond line")

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

        def run(self, names: None, feed: dict[str, Any]) -> list[Any]:
            return [feed["x"]]

    listed = ["CUDAExecutionProvider", "BrokenExecutionProvider", "AzureExecutionProvider", "CPUExecutionProvider"]
    fake = SimpleNamespace(
        get_available_providers=lambda: listed,
        SessionOptions=lambda: SimpleNamespace(add_session_config_entry=lambda name, value: None),
        InferenceSession=Session,
    )
    monkeypatch.setattr(available, "import_onnx_runtime", lambda: fake)
    findings = examine(None)
    cuda = named(findings, "CUDAExecutionProvider")
    assert (cuda.status, cuda.detail) == ("warning", "listed, but CPUExecutionProvider was loaded instead")
    broken = named(findings, "BrokenExecutionProvider")
    assert (broken.status, broken.detail) == ("warning", "does not load: no such library")
    assert named(findings, "CPUExecutionProvider").status == "ok"
    assert "AzureExecutionProvider" not in [finding.name for finding in findings]


def test_a_temporary_folder_that_cannot_be_written_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor.tempfile, "tempdir", str(tmp_path / "none"))
    assert named(examine(None), "feature store").status == "error"


def test_the_embedded_graph_is_what_its_comment_says() -> None:
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    assert model.SerializeToString() == doctor.IDENTITY
