"""Bundles exported once and kept on disk: an export takes seconds, its copy milliseconds."""

from __future__ import annotations

import ast
import hashlib
import platform
import shutil
from collections.abc import Iterable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filelock import FileLock
from shan_engine.base.files import fresh_folder
from shan_engine.bundle.manifest import MANIFEST, Manifest, read_manifest

PACKAGES = ("torch", "onnx", "onnxscript", "onnx-ir", "onnxruntime", "numpy", "safetensors")
KEPT = 100  # bundles of 0.2 MB; those used least recently are removed


class BundleCache:
    """`export_bundle` that keeps what it writes in `folder`.

    A bundle is found again by its inputs' bytes, by the sources that the exporter imports and by the versions of
    `PACKAGES`. Any number of processes may share the folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._code = digest(
            [platform.python_version(), *(f"{name} {version(name)}" for name in PACKAGES)],
            sources("shan_export.bundle_writer"),
        )

    def __call__(self, checkpoint: Path, output: Path, **options: Any) -> Manifest:
        """Write the bundle of `checkpoint` to the new folder `output`, as `export_bundle` with these options."""
        kept = self._folder / digest([self._code, repr(sorted(_named(options).items()))], _inputs(checkpoint, options))
        self._folder.mkdir(parents=True, exist_ok=True)
        with FileLock(kept.with_suffix(".lock")):
            if not kept.exists():
                self._export(checkpoint, kept, options)
            kept.touch()  # the time of its last use
            shutil.copytree(kept, output)
        return read_manifest(output / MANIFEST)

    def _export(self, checkpoint: Path, kept: Path, options: dict[str, Any]) -> None:
        from shan_export.bundle_writer import export_bundle

        with fresh_folder(kept) as fresh:
            export_bundle(checkpoint, fresh / "bundle", **options)
            for file in (fresh / "bundle").iterdir():
                file.rename(fresh / file.name)
            (fresh / "bundle").rmdir()


def sources(*modules: str) -> list[Path]:
    """The files of these modules and of every module of this project that they import, directly or not."""
    found: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        spec = find_spec(name)
        ...
    return sorted(found.values())
