"""The advice for a missing package names a command that works where shan-engine is installed."""

from __future__ import annotations

import importlib.util
import sys

import pytest
from shan_engine.base.optional import install_command, pip_command

METADATA = """Metadata-Version: 2.4
Name: shan-engine
Version: 9.9
Requires-Dist: numpy>=1.26
Requires-Dist: no-such-package>=1
Provides-Extra: cpu
Requires-Dist: onnxruntime>=1.20; extra == 'cpu'
Provides-Extra: cuda
Requires-Dist: torch>=2.9; extra == 'cuda'
Requires-Dist: triton>=3.5; (sys_platform == 'linux') and extra == 'cuda'
Provides-Extra: train
Requires-Dist: torch>=2.9; extra == "train"
"""


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """An installation of a wheel in an environment at `tmp_path`."""
    folder = tmp_path / "shan_engine-9.9.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(METADATA)
    (folder / "direct_url.json").write_text('{"archive_info": {}, "url": "file:///gone/shan_engine-9.9.whl"}')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/env/bin/python")
    return tmp_path


def test_a_working_copy_is_installed_from_its_folder():
    assert install_command("cpu", "gpu") == "pip install '.[cpu]' (or '.[gpu]') in the project's folder"
    assert install_command(force=True) == "pip install --force-reinstall . in the project's folder"
    assert pip_command("uninstall") == "pip uninstall"


def test_pip_installs_what_an_extra_brings_and_what_else_is_missing(wheel):
    ours = "/env/bin/python -m pip install 'no-such-package>=1'"
    assert install_command("cpu") == f"{ours} 'onnxruntime>=1.20'"
    assert install_command("cuda,train") == f"{ours} 'torch>=2.9' 'triton>=3.5'"
    assert install_command("train", "cpu").endswith("'torch>=2.9' (or 'no-such-package>=1' 'onnxruntime>=1.20')")


def test_pipx_and_uv_install_into_the_environment_of_the_tool(wheel, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert pip_command("install") == "uv pip install --python /env/bin/python"
    (wheel / "pipx_metadata.json").touch()
    assert pip_command("uninstall") == f"pipx runpip {wheel.name} uninstall"
