"""What is wrong with this installation, found by trying it.

Only the standard library and our errors are imported here: a broken package is then a finding, not a traceback.
"""

from __future__ import annotations

import base64
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from shan_engine.base.errors import BackendError, first_line
from shan_engine.base.optional import install_command
from shan_engine.base.threads import usable_cpus

Status = Literal["ok", "warning", "error"]
REQUIRED = {
    "numpy": "numpy",
    "lmdb": "lmdb",
    "pillow": "PIL.Image",
    "nltk": "nltk",
    "rapidfuzz": "rapidfuzz",
    "filelock": "filelock",
    "jinja2": "jinja2",
    "xxhash": "xxhash",
    "faiss-cpu": "faiss",
    "typer": "typer",
    "rich": "rich",
}
OPTIONAL = {
    "torch": f"training and exporting; {install_command('train,export')}",
    "pyarrow": f"writing .parquet; {install_command('parquet')}",
    "tensorrt_rtx": f"compiling and running TensorRT plans; {install_command('tensorrt-rtx')}",
}
# All of them bring the module `onnxruntime`.
RUNTIMES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-openvino",
    "onnxruntime-qnn",
    "onnxruntime-rocm",
    "onnxruntime-training",
    "ort-nightly",
    "ort-nightly-gpu",
)
# y = Identity(x), float [1]. Made once, as the engine runs without the onnx package:
#   x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy")
#   graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y])
#   opset = onnx.helper.make_opsetid("", 13)
#   onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()
IDENTITY = base64.b64decode("CAg6NwoQCgF4EgF5IghJZGVudGl0eRIBZ1oPCgF4EgoKCAgBEgQKAggBYg8KAXkSCgoICAESBAoCCAFCBAoAEA0=")


QUERY = "a dog on grass"


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `mend` is the command or step that puts it right, None where nothing is wrong."""

    name: str
    status: Status
    detail: str
    mend: str | None = None


def examine(demo: Path | None) -> list[Finding]:
    """Look at everything; `demo` is the folder with the demo's `bundle` and `gallery`, None where there is none.

    Never raises for a fault of the installation: each fault is a finding.
    """
    return [
        Finding(
            "python",
            "ok",
            f"{platform.python_version()} on {platform.system()} {platform.machine()}, {sys.executable}",
        ),
        *_packages(),
        _runtime_packages(),
        *_providers(),
        _cores(),
        _kernel(),
        *_optional(),
        _lmdb(),
        *_demo(demo),
    ]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _packages() -> Iterator[Finding]:
    for package, module in {"shan-engine": "shan_engine", **REQUIRED}.items():
        version = _version(package)
        if version is None:
            yield Finding(package, "error", "not installed", install_command("cpu", "gpu"))
        elif fault := _import_fault(module):
            own = package == "shan-engine"
            mend = install_command(force=True) if own else f"pip install --force-reinstall {package}"
            yield Finding(package, "error", f"{version}, but does not load: {fault}", mend)
        else:
            yield Finding(package, "ok", version)


def _import_fault(module: str) -> str | None:
    try:
        import_module(module)
    except Exception as error:  # a broken package may raise anything
        return first_line(error)
    return None


def _kernel() -> Finding:
    try:
        from shan_engine.kernel.library import chosen_variant, variants

        chosen = chosen_variant()
    except BackendError as error:
        return Finding("score kernel", "error", first_line(error), "unset SHAN_KERNEL")
    except Exception as error:  # NumPy, broken, may raise anything
        return Finding("score kernel", "error", first_line(error), install_command(force=True))
    if chosen:
        return Finding("score kernel", "ok", f"{chosen}, compiled for this processor")
    if variants():
        return Finding("score kernel", "warning", "turned off by SHAN_KERNEL: scores are slower", "unset SHAN_KERNEL")
    detail = "not built: scores go through ONNX Runtime, slower, and large galleries are searched exhaustively"
    return Finding("score kernel", "warning", detail, f"install a C compiler, then {install_command(force=True)}")


def _runtime_packages() -> Finding:
    found = {package: version for package in RUNTIMES if (version := _version(package)) is not None}
    listed = ", ".join(f"{package} {version}" for package, version in found.items())
    if len(found) > 1:
        return Finding(
            "onnxruntime packages",
            "error",
            f"{listed} overwrite each other's files",
            f"pip uninstall {' '.join(found)}, then {install_command('gpu', 'cpu')}",
        )
    if not found:
        return Finding("onnxruntime packages", "error", "none installed", install_command("cpu", "gpu"))
    return Finding("onnxruntime packages", "ok", listed)


def _providers() -> Iterator[Finding]:
    """One finding for each provider that ONNX Runtime lists, after a session with it has run."""
    try:
        from shan_engine.backends.onnx_runtime.graph import import_onnx_runtime

        runtime = import_onnx_runtime()
        providers = runtime.get_available_providers()
    except Exception as error:  # ours, or whatever a broken package raises as it is imported
        yield Finding("onnxruntime", "error", first_line(error), install_command("cpu", "gpu", force=True))
        return
    for provider in providers:
        if provider != "AzureExecutionProvider":  # a remote service, no device of this machine
            yield _provider(runtime, provider)


def _provider(runtime: Any, provider: str) -> Finding:
    cpu = "CPUExecutionProvider"
    try:
        import numpy as np

        options = runtime.SessionOptions()
        options.log_severity_level = 4
        session = runtime.InferenceSession(IDENTITY, options, providers=list(dict.fromkeys((provider, cpu))))
        loaded = session.get_providers()[0]
        value = float(session.run(None, {"x": np.full(1, 0.5, np.float32)})[0][0])
        detail = f"listed, but {loaded} was loaded in its place" if loaded != provider else ""
        if value != 0.5:
            detail = f"gives {value} where 0.5 is right"
    except Exception as error:  # ONNX Runtime raises many types of its own
        detail = f"does not load: {first_line(error)}"
    if not detail:
        return Finding(provider, "ok", "loads and runs")
    if provider == cpu:
        return Finding(provider, "error", detail, install_command("cpu", force=True))
    return Finding(
        provider,
        "warning",
        detail,
        "install the NVIDIA driver and libraries of the version it wants, or use --device cpu",
    )


def _cores() -> Finding:
    usable = usable_cpus()
    return Finding("processor", "ok", f"{usable} of {os.cpu_count() or usable} cores usable")


def _optional() -> Iterator[Finding]:
    for package, purpose in OPTIONAL.items():
        if find_spec(package) is None:
            yield Finding(package, "ok", f"not installed; only needed for {purpose}")
        else:
            yield Finding(package, "ok", _version(package) or "installed")


def _lmdb() -> Finding:
    """Write to a fresh database, close it, open it again and read."""
    try:
        import lmdb

        with tempfile.TemporaryDirectory(prefix="shan-doctor-") as folder:
            with (
                lmdb.open(folder, map_size=2**20) as environment,
                environment.begin(write=True) as transaction,
            ):
                transaction.put(b"key", b"value")
            with lmdb.open(folder, map_size=2**20) as environment, environment.begin() as transaction:
                read = transaction.get(b"key")
    except Exception as error:  # lmdb.Error is not importable where lmdb is the fault
        detail = f"a test store cannot be written in {_temporary()}: {error}"
        return Finding("feature store", "error", detail, "free some space there, or set TMPDIR to a local disk")
    if read != b"value":
        return Finding(
            "feature store",
            "error",
            "LMDB did not read back what it wrote",
            "pip install --force-reinstall lmdb",
        )
    return Finding("feature store", "ok", "written and read back")


def _temporary() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:
        return "a temporary folder"


def _answer(bundle: Any, gallery: Any) -> str:
    """What one query finds: all that a search needs is loaded and run."""
    from shan_engine.scoring.encoders import Scorer
    from shan_engine.search.exhaustive import search

    began = time.perf_counter()
    (found,) = search(Scorer(bundle), gallery, [QUERY], top_k=1)
    best = found.hits[0]
    return f"'{QUERY}' finds {best.image.id} in {time.perf_counter() - began:.1f} s"


def _demo(folder: Path | None) -> Iterator[Finding]:
    mend = f"`git checkout artifacts/demo`, then {install_command(force=True)}"
    if folder is None:
        yield Finding("demo", "warning", "this installation has none", f"{mend}; or name a bundle with --model")
        return
    name = "demo bundle"
    try:
        from shan_engine.bundle.contents import Bundle
        from shan_engine.gallery.reader import Gallery

        bundle = Bundle.open(folder / "bundle")
        yield Finding(name, "ok", f"{bundle.path}, fingerprint {bundle.manifest.fingerprint[:12]}")
        name = "demo gallery"
        gallery = Gallery.open(folder / "gallery", bundle)  # refuses one that another bundle made
        wanted, held = bundle.manifest.feature_extractor, gallery.manifest.feature_extractor
        if wanted not in (None, held):
            yield Finding(name, "error", f"its features are of '{held}', the bundle wants those of '{wanted}'", mend)
            return
        images = gallery.images()
        for block in gallery.blocks:
            block.check(block.rows)
            block.boxes(0)
        if not images:
            yield Finding(name, "error", "it has no images", mend)
            return
        yield Finding(name, "ok", f"{len(images)} images in {gallery.path}")
        name = "demo search"
        yield Finding(name, "ok", _answer(bundle, gallery))
    except Exception as error:  # ours, a package that does not load, or damage that nobody thought of
        yield Finding(name, "error", first_line(error), mend)
        return
    missing = [image.path for image in images if not Path(image.path).is_file()]
    if missing:
        detail = f"{len(missing)} of {len(images)} are missing, such as {missing[0]}"
        yield Finding("demo photos", "warning", detail, mend)
    else:
        yield Finding("demo photos", "ok", f"all {len(images)} there")
