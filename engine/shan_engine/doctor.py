"""Check this installation by trying each part of it: packages, devices, the kernel, LMDB and the demo.

The module itself imports only the standard library and `base`, so that a broken package is a finding, not a traceback.
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
from shan_engine.base.optional import install_command, pip_command
from shan_engine.base.threads import usable_cpus

Status = Literal["ok", "warning", "error"]
REQUIRED = {
    "numpy": "numpy",
    "lmdb": "lmdb",
    "pillow": "PIL.Image",
    "defusedxml": "defusedxml",
    "nltk": "nltk",
    "rapidfuzz": "rapidfuzz",
    "filelock": "filelock",
    "msgspec": "msgspec",
    "jinja2": "jinja2",
    "xxhash": "xxhash",
    "faiss-cpu": "faiss",
    "typer": "typer",
    "rich": "rich",
}
OPTIONAL = {
    "torch": f"training and exporting; {install_command('train,export')}",
    "pyarrow": f"writing .parquet; {install_command('parquet')}",
    "reverse_geocode": f"names of the places of photos; {install_command('places')}",
    "rapidocr": f"reading text in photos; {install_command('ocr')}",
    "tensorrt_rtx": f"compiling and running TensorRT plans; {install_command('tensorrt-rtx')}",
}
# Each of these packages installs a module named `onnxruntime`.
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
# The graph y = Identity(x), float [1]. It is embedded because the engine runs without the onnx package. Made with:
#   x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy")
#   graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y])
#   opset = onnx.helper.make_opsetid("", 13)
#   onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()
IDENTITY = base64.b64decode("CAg6NwoQCgF4EgF5IghJZGVudGl0eRIBZ1oPCgF4EgoKCAgBEgQKAggBYg8KAXkSCgoICAESBAoCCAFCBAoAEA0=")
QUERY = "a dog on grass"


@dataclass(frozen=True)
class Finding:
    """The result of one check. `fix` is the command or step that fixes a fault, None if there is no fault."""

    name: str
    status: Status
    detail: str
    fix: str | None = None


def examine(demo: Path | None) -> list[Finding]:
    """Run all checks. `demo` is the folder with the demo's `bundle` and `gallery`, or None if there is no demo.

    Raises nothing for a fault of the installation: each fault is a finding.
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
            fix = install_command(force=True) if own else f"{pip_command('install')} --force-reinstall {package}"
            yield Finding(package, "error", f"{version}, but does not load: {fault}", fix)
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
    except Exception as error:  # a broken NumPy may raise anything
        return Finding("score kernel", "error", first_line(error), install_command(force=True))
    if chosen:
        return Finding("score kernel", "ok", f"{chosen}, compiled for this processor")
    if variants():
        return Finding("score kernel", "warning", "turned off by SHAN_KERNEL: scoring is slower", "unset SHAN_KERNEL")
    detail = "not built: ONNX Runtime scores instead, which is slower, and large galleries are searched exhaustively"
    return Finding("score kernel", "warning", detail, f"install a C compiler, then {install_command(force=True)}")


def _runtime_packages() -> Finding:
    found = {package: version for package in RUNTIMES if (version := _version(package)) is not None}
    listed = ", ".join(f"{package} {version}" for package, version in found.items())
    if len(found) > 1:
        return Finding(
            "onnxruntime packages",
            "error",
            f"{listed} overwrite each other's files",
            f"{pip_command('uninstall')} {' '.join(found)}, then {install_command('gpu', 'cpu')}",
        )
    if not found:
        return Finding("onnxruntime packages", "error", "none installed", install_command("cpu", "gpu"))
    return Finding("onnxruntime packages", "ok", listed)


def _providers() -> Iterator[Finding]:
    """One finding for each provider that ONNX Runtime lists, after running a session with it."""
    try:
        from shan_engine.backends.onnx_runtime.available import import_onnx_runtime

        runtime = import_onnx_runtime()
        providers = runtime.get_available_providers()
    except Exception as error:  # ours, or anything that a broken package raises on import
        yield Finding("onnxruntime", "error", first_line(error), install_command("cpu", "gpu", force=True))
        return
    for provider in providers:
        if provider != "AzureExecutionProvider":  # a remote service, not a device of this machine
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
        detail = f"listed, but {loaded} was loaded instead" if loaded != provider else ""
        if value != 0.5:
            detail = f"computes {value} instead of 0.5"
    except Exception as error:  # ONNX Runtime raises many types
        detail = f"does not load: {first_line(error)}"
    if not detail:
        return Finding(provider, "ok", "loads and runs")
    if provider == cpu:
        return Finding(provider, "error", detail, install_command("cpu", force=True))
    return Finding(
        provider,
        "warning",
        detail,
        "install the versions of the NVIDIA driver and libraries that it needs, or use --device cpu",
    )


def _cores() -> Finding:
    usable = usable_cpus()
    return Finding("processor", "ok", f"{usable} of {os.cpu_count() or usable} cores usable")


def _optional() -> Iterator[Finding]:
    for package, purpose in OPTIONAL.items():
        if find_spec(package) is None:
            yield Finding(package, "ok", f"not installed; needed only for {purpose}")
        else:
            yield Finding(package, "ok", _version(package) or "installed")


def _lmdb() -> Finding:
    """Write to a new database, close it, open it again and read."""
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
    except Exception as error:  # lmdb.Error cannot be imported if lmdb itself is broken
        detail = f"cannot write a test store in {_temporary()}: {error}"
        return Finding("feature store", "error", detail, "free some space there, or set TMPDIR to a local disk")
    if read != b"value":
        return Finding(
            "feature store",
            "error",
            "LMDB did not read back what it wrote",
            f"{pip_command('install')} --force-reinstall lmdb",
        )
    return Finding("feature store", "ok", "written and read back")


def _temporary() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:
        return "a temporary folder"


def _answer(bundle: Any, gallery: Any) -> str:
    """Search for one query, which loads and runs all that a search needs, and say what it finds."""
    from shan_engine.scoring.scorer import Scorer
    from shan_engine.search.answer import search

    began = time.perf_counter()
    (found,) = search(Scorer(bundle), gallery, [QUERY], top_k=1)
    best = found.hits[0]
    return f"'{QUERY}' finds {best.image.id} in {time.perf_counter() - began:.1f} s"


def _demo(folder: Path | None) -> Iterator[Finding]:
    fix = f"`git checkout artifacts/demo`, then {install_command(force=True)}"
    if folder is None:
        yield Finding("demo", "warning", "not installed", f"{fix}; or name a bundle with --model")
        return
    name = "demo bundle"
    try:
        from shan_engine.bundle.contents import Bundle
        from shan_engine.gallery.reader import Gallery

        bundle = Bundle.open(folder / "bundle")
        yield Finding(name, "ok", f"{bundle.path}, fingerprint {bundle.manifest.fingerprint[:12]}")
        name = "demo gallery"
        gallery = Gallery.open(folder / "gallery", bundle)  # raises if another bundle made it
        wanted, held = bundle.manifest.feature_extractor, gallery.manifest.feature_extractor
        if wanted not in (None, held):
            yield Finding(
                name, "error", f"its features are from '{held}', but the bundle needs those of '{wanted}'", fix
            )
            return
        images = gallery.images()
        for block in gallery.blocks:
            block.check(block.rows)
            block.boxes(0)
        if not images:
            yield Finding(name, "error", "it is empty", fix)
            return
        yield Finding(name, "ok", f"{len(images)} images in {gallery.path}")
        name = "demo search"
        yield Finding(name, "ok", _answer(bundle, gallery))
    except Exception as error:  # ours, a package that does not load, or unforeseen damage
        yield Finding(name, "error", first_line(error), fix)
        return
    missing = [image.path for image in images if not Path(image.path).is_file()]
    if missing:
        detail = f"{len(missing)} of {len(images)} are missing, such as {missing[0]}"
        yield Finding("demo photos", "warning", detail, fix)
    else:
        yield Finding("demo photos", "ok", f"all {len(images)} found")
