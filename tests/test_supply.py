"""What an installation brings: its licences are in NOTICE, its versions in constraints.txt, and these are tested."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import licences
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PINS = {
    canonicalize_name(name): Version(pinned)
    for name, _, pinned in (line.partition("==") for line in (ROOT / "constraints.txt").read_text("utf-8").split())
}
NEEDED = {extra: [Requirement(text) for text in needs] for extra, needs in licences.project().items()}
UNPINNED = {"gpu", "tensorrt"}
"""Extras for other machines than those that test."""
WITH_PYTHON = {"setuptools"}


@pytest.fixture(scope="module")
def installed():
    return licences.installed()


def test_notice_lists_every_package_with_its_licence(installed):
    text = licences.NOTICE.read_text("utf-8")
    assert licences.faults(*installed, text) == []
    assert {"numpy", "lmdb"} <= installed[0].keys()
    assert {"torch", "starlette"} <= installed[1].keys()
    lacking = text.replace("  ", " ").replace(", lmdb", "").replace(": lmdb", ":")
    assert any("lmdb" in fault for fault in licences.faults(*installed, lacking))


def test_a_licence_that_all_would_have_to_keep_is_told():
    every = {"a": "GPL-3.0-or-later", "b": "UNKNOWN", "c": "MIT"}
    found = licences.faults(every, {"d": "LGPL"}, licences.section(every, {"d": "LGPL"}))
    assert [fault.split(":")[0] for fault in found] == ["b", "a"]


@pytest.mark.parametrize("extra", NEEDED, ids=lambda extra: extra or "every installation")
def test_versions_that_the_project_admits_include_the_pinned_one(extra):
    for requirement in NEEDED[extra]:
        pinned = PINS.get(canonicalize_name(requirement.name))
        assert pinned or extra in UNPINNED, f"constraints.txt lacks {requirement.name}"
        assert pinned is None or requirement.specifier.contains(pinned), requirement


def test_everything_installed_for_the_project_is_pinned_at_what_is_tested(installed):
    for name in {**installed[0], **installed[1]}.keys() - WITH_PYTHON:
        assert PINS[name] == Version(Version(version(name)).public), name
