"""The score kernel under sanitizers, with random shapes, masks and numbers."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location("sanitized", Path(__file__).with_name("run.py"))
assert _SPEC
assert _SPEC.loader
sanitized = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(sanitized)


@pytest.mark.parametrize("watched", [pytest.param("address,undefined"), pytest.param("thread", marks=pytest.mark.slow)])
def test_random_calls_are_clean(tmp_path: Path, watched: str) -> None:
    program = sanitized.build(tmp_path, "baseline", watched)
    if program is None:
        pytest.skip("no C compiler with this sanitizer")
    done = sanitized.run(program, calls=80, threads=4 if watched == "thread" else 1)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("clean\n")
