"""The sdist and the wheel hold what an installation needs, and are built without a C compiler, too."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TARGETS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"]


def test_the_sdist_holds_what_the_wheel_is_made_of():
    wheel, folders = TARGETS["wheel"], TARGETS["sdist"]["include"]
    sources = [*wheel["packages"], *wheel["force-include"], *wheel["shared-data"]]
    assert sorted(wheel["packages"]) == sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("[a-z]*/shan_*"))
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(f"/{source}/".startswith(f"{folder}/") for folder in folders), source


def environment(folder: Path) -> Path:
    """A new virtual environment; the folder of its programs."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return folder / "bin"


def run(*command: object, **changes: str) -> str:
    """Standard output of a command that must succeed, with no trace of this working copy in its environment."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("SHAN_", "PYTHON"))}
    done = subprocess.run(
        [*map(str, command)], cwd="/", env={**variables, **changes}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow  # it installs everything from the package index
@pytest.mark.timeout(1800)
def test_a_wheel_searches_the_demo_from_any_folder_and_an_sdist_needs_no_compiler(tmp_path):
    tools, dist = environment(tmp_path / "tools"), tmp_path / "dist"
    run(tools / "pip", "install", "--quiet", "build", "hatchling")
    run(tools / "python", "-m", "build", "--outdir", dist, ROOT)
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    names = zipfile.ZipFile(wheel).namelist()
    assert "shan_engine/kernel/baseline.so" in names
    assert ".so" not in run("tar", "tf", sdist)

    users = environment(tmp_path / "user")
    constraints = ROOT / "constraints.txt"
    run(users / "pip", "install", "--quiet", "--constraint", constraints, f"{wheel}[cpu]")
    assert "dog.jpg" in run(users / "shan-engine", "search", "a dog on grass", "-k", "1")
    assert "compiled for this processor" in run(users / "shan-engine", "doctor")
    assert (tmp_path / "user/share/man/man1/shan-engine.1").read_bytes() == (ROOT / "docs/shan-engine.1").read_bytes()

    bare = {"PATH": str(tools)}  # no compiler, and no zig beside hatchling
    run(tools / "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, sdist, **bare)
    (plain,) = tmp_path.glob("*.whl")
    assert plain.name.endswith("-py3-none-any.whl")
    run(users / "pip", "install", "--quiet", "--no-deps", "--force-reinstall", plain)
    assert "dog.jpg" in run(users / "shan-engine", "search", "a dog on grass", "-k", "1")
    assert "not built" in run(users / "shan-engine", "doctor")
