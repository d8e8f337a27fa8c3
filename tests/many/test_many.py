"""Readers, writers, a server and a job over one collection, killed in turn: no wrong answer, loss or growth."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SECONDS = float(os.environ.get("SHAN_MANY_SECONDS", "10"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_many_at_once(seeing_bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = os.pathsep.join([str(HERE.parent), *sys.path])
    command = [sys.executable, str(HERE / "run.py"), str(seeing_bundle), str(tmp_path / "many"), str(SECONDS)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    print(json.dumps(report))
    idle = [name for name, steps in report["steps"].items() if not steps and name != "serve"]
    assert not idle or SECONDS < 30, report
    assert report["changes"] > SECONDS
    for what, (before, after) in report["grown"].items():
        assert after <= 2 * before + 4, (what, before, after)
