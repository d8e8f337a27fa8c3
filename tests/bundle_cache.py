"""Bundles exported once and kept on disk: an export takes seconds, a copy of it milliseconds."""

from __future__ import annotations

import ast
import hashlib
import platform
import shutil
from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

from filelock import FileLock
from shan_engine.bundle.manifest import Manifest

PACKAGES = ("torch", "onnx", "onnxscript", "onnx-ir", "onnxruntime", "numpy", "safetensors")
EXPORTER = "shan_export.bundle_writer"
KEPT = 100  # bundles, of 0.2 MB each; those used least recently go


class BundleCache:
    """`export_bundle` that keeps every bundle in `folder`, which any number of processes may share.

    A bundle's key is a digest of the bytes that go into it, of the sources that the exporter imports, and of the
    versions of Python and `PACKAGES`.
    """

    def __init__(self, folder: Path, export: Callable[..., object] | None = None, *, module: str = EXPORTER) -> None:
        self._folder, self._export = folder, export
        self._code = code_digest(module)
        for old in sorted(folder.glob("*/"), key=lambda kept: kept.stat().st_mtime)[:-KEPT]:
            shutil.rmtree(old)
            old.with_suffix(".lock").unlink(missing_ok=True)

    def __call__(self, checkpoint: Path, output: Path, **options: Any) -> Manifest:
        """Write the bundle of `checkpoint` to the new folder `output`, as `export_bundle` with these options does."""
        kept = self._folder / self._key(checkpoint, options)
        with FileLock(kept.with_suffix(".lock")):
            if not kept.exists():
                self._exporter()(checkpoint, kept, **options)
            kept.touch()
        shutil.copytree(kept, output)
        return Manifest.load(output)

    def _exporter(self) -> Callable[..., object]:
        if self._export is None:
            from shan_export.bundle_writer import export_bundle  # imports torch: only where there is something to do

            self._export = export_bundle
        return self._export

    def _key(self, checkpoint: Path, options: dict[str, Any]) -> str:
        digest = hashlib.sha256(self._code.encode())
        for name, value in [("checkpoint", checkpoint), *sorted(options.items())]:
            digest.update(f"{name}\0".encode())
            for part in _content(value):
                digest.update(hashlib.sha256(part).digest())
        return digest.hexdigest()


def _content(value: object) -> Iterator[bytes]:
    """What a path's files hold, the recipe beside an extractor included; of another value, how it is written."""
    if not isinstance(value, Path):
        yield repr(value).encode()
        return
    files = sorted(value.iterdir()) if value.is_dir() else [value, value.with_suffix(".json")]
    for file in files:
        yield file.name.encode()
        yield file.read_bytes()


_PARSING = Lock()  # CPython 3.11's parser may fail in two threads at once


def code_digest(module: str) -> str:
    """Hex SHA-256 of this module's source, of all that it imports from its project, and of the versions below it."""
    with _PARSING:
        found = sources(module)
    digest = hashlib.sha256("\n".join([platform.python_version(), *map(version, PACKAGES)]).encode())
    for name, file in sorted(found.items()):
        digest.update(f"{name}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def sources(module: str) -> dict[str, Path]:
    """The source of `module` and of each `shan_*` module that it or one of these imports or names, by module."""
    found: dict[str, Path] = {}
    waiting = {module}
    while waiting:
        name = waiting.pop()
        file = _source(name)
        if file is None or name in found:
            continue
        found[name] = file
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                waiting.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                waiting.update((node.module, *(f"{node.module}.{alias.name}" for alias in node.names)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                waiting.add(node.value)  # a module that is imported by its name
    return found


def _source(module: str) -> Path | None:
    """The file of a `shan_*` module; None for other names."""
    top, *below = module.split(".")
    spec = find_spec(top) if top.startswith("shan_") and top.isidentifier() else None
    if spec is None or spec.origin is None:
        return None
    place = Path(spec.origin).parent.joinpath(*below)
    return next((file for file in (place / "__init__.py", place.with_name(f"{place.name}.py")) if file.is_file()), None)
