"""Where the command's standard streams go, and Ctrl-C before it has begun."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from installed import COMMAND, environment, heed_interrupts, shan, start


def run(*command: object, shell: str) -> subprocess.CompletedProcess[str]:
    """The command with its streams as `shell` has them."""
    script = f'exec "$0" "$@" {shell}'
    return subprocess.run(
        ["sh", "-c", script, COMMAND, *map(str, command)],
        capture_output=True, text=True, check=False, env=environment(),
    )  # fmt: skip


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_an_answer_onto_a_full_disk(place, more):
    done = run("search", "a dog", "--gallery", place.gallery, "--model", place.bundle, *more, shell="> /dev/full")
    assert done.returncode == 1
    assert "error: the answer cannot be written: No space left on device; check the disk" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_closed_streams(place):
    for shell in (">&-", "2>&-", ">&- 2>&-"):
        done = run("search", "a dog", "--gallery", place.gallery, "--model", place.bundle, shell=shell)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
    common = ("--gallery", place.gallery, "--model", place.bundle, "--output", place.here / "a.npy")
    done = run("score", "--queries", "-", *common, shell="<&-")
    assert done.returncode == 1
    assert "error: standard input is closed: pipe captions into the command" in done.stderr


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii", "cp1252"])
def test_json_is_json_whatever_the_encoding(place, encoding):
    query = "a dog café 🐕"
    command = (COMMAND, "search", query, "--gallery", place.gallery, "--model", place.bundle, "--json")
    said = subprocess.run(command, capture_output=True, check=True, env=environment(PYTHONIOENCODING=encoding)).stdout
    assert json.loads(said)[0]["query"] == query
    assert ("🐕".encode() in said) == (encoding == "utf-8")


@pytest.mark.parametrize("module", ["typer", "pydantic", "onnxruntime"])
def test_ctrl_c_while_modules_are_loaded(place, module):
    """One that takes time sends it, as a key pressed then would. ONNX Runtime calls that an ImportError."""
    code = (
        "import os, signal, sys\n"
        "class Press:\n"
        "    def find_spec(self, name, *_):\n"
        "        try:\n"
        f"            if name == '{module}': os.kill(os.getpid(), signal.SIGINT)\n"
        "        except KeyboardInterrupt:\n"
        "            if name == 'onnxruntime': raise ImportError(name)\n"
        "            raise\n"
        "sys.meta_path.insert(0, Press())\n"
        "from shan_cli.__main__ import run\n"
        "run()\n"
    )
    command = (sys.executable, "-c", code, "search", "a dog", "--gallery", place.gallery, "--model", place.bundle)
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=heed_interrupts)
    assert (done.returncode, done.stdout, done.stderr.splitlines()[-1]) == (130, "", "interrupted")
    assert "error" not in done.stderr


def test_the_package_runs_as_the_command_does():
    done = subprocess.run([sys.executable, "-m", "shan_cli", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == shan("--version").stdout


def test_an_interrupted_search_does_not_say_that_something_is_kept(place):
    queries = place.here / "queries.txt"
    os.mkfifo(queries)
    process = start("search", "--queries", queries, "--gallery", place.gallery, "--model", place.bundle)
    with queries.open("w"):  # waits until it is read
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert (process.returncode, said) == (130, "interrupted\n")


@pytest.mark.parametrize("first", [False, True], ids=["a process", "process 1 of a container"])
def test_termination_ends_a_command_as_ctrl_c_does(place, first):
    """Also where Ctrl-C is ignored, as in the background of a shell, and where Linux ignores it: as process 1."""
    alone = ("unshare", "--pid", "--fork", "--kill-child") if first else ()
    if first and subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to make a namespace of processes")
    queries = place.here / f"queries-{first}.txt"
    os.mkfifo(queries)
    command = (COMMAND, "search", "--queries", queries, "--gallery", place.gallery, "--model", place.bundle)
    process = subprocess.Popen(
        [*alone, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )  # fmt: skip
    with queries.open("w"):  # waits until it is read
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]) if first else process.pid, signal.SIGTERM)
        _, said = process.communicate(timeout=240)
    assert (process.returncode, said) == (130, "interrupted\n")
