"""Every call that writes may fail or be the last: the old state or the new is there, and the same command goes on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CASES = (
    *("import", "delete", "compact", "index", "index again", "index-captions", "score", "merge", "extract", "update"),
    *("train", "export", "compile"),
    *(
        "power: import",
        "power: delete",
        "power: compact",
        "power: index",
        "power: index again",
        "power: index-captions",
    ),
    *("power: score", "power: merge", "power: extract", "power: update"),
)
pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not shutil.which("cc"), reason="needs Linux and a C compiler"
)


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("faults") / "faults.so"
    command = ["cc", "-shared", "-fPIC", "-O1", str(HERE / "faults.c"), "-ldl", "-o", str(library)]
    subprocess.run(command, check=True)
    return library


def swept(faults: Path, bundle: Path, seeing: Path, state: Path, sample: int, *cases: str) -> list[dict[str, object]]:
    path = os.pathsep.join([str(HERE.parent), *sys.path])
    environment = {**os.environ, "LD_PRELOAD": str(faults), "PYTHONPATH": path}
    command = [sys.executable, str(HERE / "sweep.py"), str(bundle), str(seeing), str(state), str(sample), *cases]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.timeout(1200)  # of a loaded machine
def test_some_faults_of_small_commands(faults: Path, bundle_path: Path, seeing_bundle: Path, tmp_path: Path) -> None:
    cases = ("compact", "import", "extract", "export", "power: index again")
    found = swept(faults, bundle_path, seeing_bundle, tmp_path, 2, *cases)
    assert [case["faults"] for case in found] == [8, 8, 8, 8, 4]


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("case", CASES)
def test_all_faults(faults: Path, bundle_path: Path, seeing_bundle: Path, tmp_path: Path, case: str) -> None:
    (found,) = swept(faults, bundle_path, seeing_bundle, tmp_path, 0, case)
    print(json.dumps(found))
    assert found["faults"] == (2 if case.startswith("power") else 4) * int(str(found["points"]))
    assert found["points"] == found["calls"]
