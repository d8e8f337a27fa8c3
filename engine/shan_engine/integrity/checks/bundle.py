"""Check the files of a bundle, and the plans compiled of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from shan_engine.base.errors import BackendError, BundleError
from shan_engine.bundle.contents import Bundle, bundle_faults
from shan_engine.bundle.manifest import MANIFEST, Manifest
from shan_engine.bundle.plans import PlanSet, plan_sets, remake
from shan_engine.integrity.findings import Finding, clause
from shan_engine.locate import KEPT, kept_bundle


def check_kept(gallery: Path, fingerprint: str, fix: str) -> Iterator[Finding]:
    """Faults of the bundle that a gallery keeps. One without a folder for bundles never had one."""
    kept = kept_bundle(gallery, fingerprint)
    if kept.exists():
        yield from check_bundle(kept, fix)
    elif (gallery / KEPT).is_dir():
        yield Finding("bundle", MANIFEST, f"the bundle {kept} is missing; it made the gallery: {fix}")


def check_bundle(path: Path, fix: str) -> Iterator[Finding]:
    """Faults of a bundle. `fix` is the clause that names the repairing command."""
    try:
        manifest = Manifest.load(path)
    except BundleError as error:
        yield Finding("bundle", MANIFEST, f"{clause(error)}: {fix}")
        return
    for name, fault in bundle_faults(path, manifest):
        yield Finding("bundle", name, f"{clause(fault)}: {fix}")
    for folder in plan_sets(Bundle(path, manifest)):
        try:
            PlanSet.load(folder).refuse_stale(Bundle(path, manifest), folder)
        except BackendError as error:
            yield Finding("plans", str(folder.relative_to(path)), f"{clause(error)}: {remake(path)}")
