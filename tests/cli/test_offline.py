"""Commands need no network, and write nowhere but where they are told to.

strace records what a command and its threads ask of the kernel, also from libraries in C. Where strace is missing, only
what is left in the home folder is checked, and the test counts as skipped.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from installed import COMMAND, environment, expect_output
from PIL import Image
from shan_engine.store.feature_store import FeatureStore
from writing import written

DEMO = Path(__file__).parents[2] / "artifacts" / "demo" / "bundle"
CHANGES = (
    "open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,link,linkat,symlink,symlinkat"
)
STRACE = ["strace", "--seccomp-bpf", "--follow-forks", "--quiet=all", f"--trace=%network,{CHANGES}"]
SOCKET = re.compile(r"\d+ +(socket|connect|bind|sendto|sendmsg)\(")
# Other calls than open change what is there, unless they fail.
WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|^\d+ +(?!open)\w+\((?!.*= -1)")
PATH = re.compile(r'"((?:[^"\\]|\\.)*)"')


def run(here: Path, *commands: list[object]) -> list[str] | None:
    """Run commands in a folder with a home folder of their own: the system calls that strace saw, None without it."""
    (here / "home").mkdir()
    variables = environment(
        HOME=str(here / "home"),
        XDG_CONFIG_HOME=str(here / "config"),
        XDG_DATA_HOME=str(here / "data"),
        TMPDIR=str(here),
        USER="someone",  # else PyTorch asks the system's list of users, perhaps through a socket of this machine
        PYTHONDONTWRITEBYTECODE="1",
        ORT_DISABLE_TELEMETRY="0",  # ours counts
    )
    trace = [*STRACE, f"--output={here / 'trace'}", "--output-append-mode"]
    usable = bool(shutil.which("strace")) and not subprocess.run([*trace, "true"], check=False).returncode
    for command in commands:
        called = [*(trace if usable else []), COMMAND, *map(str, command)]
        expect_output(subprocess.run(called, cwd=here, env=variables, capture_output=True, text=True, check=False))
    return (here / "trace").read_text("utf-8", "replace").splitlines() if usable else None


def check(here: Path, calls: list[str] | None) -> None:
    assert list((here / "home").rglob("*")) == []
    if calls is None:
        pytest.skip("strace is not installed or may not trace here: only the home folder was checked")
    assert [line for line in calls if SOCKET.match(line)] == []
    changed = [(line, Path(here, path)) for line in calls if WRITES.search(line) for path in PATH.findall(line)]
    assert any(path.parent == here for _, path in changed)  # what is looked for is found at all
    allowed = (here, Path("/dev/null"), Path("/dev/shm"))  # /dev/shm has semaphores of processes, for a moment
    elsewhere = [line for line, path in changed if not any(path.is_relative_to(place) for place in allowed)]
    assert elsewhere == []
    assert [line for line, path in changed if path.is_relative_to(here / "home")] == []


def test_extract_index_update_and_search_open_no_socket_and_write_nowhere_else(tmp_path):
    for folder, colour in (("photos", (200, 30, 30)), ("more", (30, 200, 30))):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (40, 30), colour).save(tmp_path / folder / "a.jpg")
    demo = ["--gallery", "g", "--model", DEMO]
    calls = run(
        tmp_path,
        ["extract", "photos", "more", "--store", "s", "--model", DEMO],
        ["index", "s", "--output", "g", "--model", DEMO],
        ["search", "a dog", "--image", "photos/a.jpg", *demo, "--html", "report.html"],
        ["search", "a dog", *demo, "--where", "width < 100", "--fine-regions", "--details"],
        ["init", "photos", "more", "--model", DEMO, "--store", "s", "--gallery", "g"],
        ["update"],
        ["search", "a dog"],
    )
    check(tmp_path, calls)


def test_reading_text_opens_no_socket_and_writes_nowhere_else(tmp_path):
    pytest.importorskip("rapidocr")
    (tmp_path / "photos").mkdir()
    written("Budget 2024").save(tmp_path / "photos" / "a.png")
    calls = run(
        tmp_path,
        ["extract", "photos", "--store", "s", "--model", DEMO, "--read-text"],
        ["read", "photos/a.png"],
    )
    with FeatureStore.open(tmp_path / "s") as store:
        assert [line.text for line in dict(store.texts())["a.png"]] == ["Budget 2024"]
    check(tmp_path, calls)


def test_scoring_and_captions_open_no_socket_and_write_nowhere_else(tmp_path):
    captions = [f"test\t{image}\t{text}" for image, text in (("dog.jpg", "a dog"), ("pig.jpg", "a pig"))]
    (tmp_path / "captions.tsv").write_text("\n".join(["split\timage\tcaption", *captions]) + "\n")
    (tmp_path / "queries.txt").write_text("a dog\n")
    calls = run(
        tmp_path,
        ["index-captions", "captions.tsv", "--output", "c", "--model", DEMO],
        ["search", "--image", DEMO.parent / "photos" / "dog.jpg", "--gallery", "c", "--model", DEMO],
        ["score", "--queries", "queries.txt", "--output", "scores.npy"],
        ["evaluate", "--captions", "captions.tsv"],
        ["doctor"],
    )
    check(tmp_path, calls)


@pytest.mark.slow  # PyTorch takes half a minute
def test_export_opens_no_socket_and_writes_nowhere_else(tmp_path, checkpoint):
    calls = run(tmp_path, ["export", checkpoint.folder, "--output", "bundle"])
    check(tmp_path, calls)
