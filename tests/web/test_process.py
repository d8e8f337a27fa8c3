"""`shan-engine serve` as a process: how it starts, changes with its gallery, and stops."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import socket
import sys
import threading
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError

import pytest
from in_process import refusal
from msgspec.structs import replace
from shan_engine.gallery.manifest import GalleryManifest
from shan_engine.locate import demo_folder

sys.path.insert(0, str(Path(__file__).parent))

from served import served

SECRET = "a very private query"


def get(address, **headers):
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=240) as answer:
        return answer.read()


def search(address, query="dog", **more):
    return json.loads(get(f"{address}/api/search?q={query}{''.join(f'&{k}={v}' for k, v in more.items())}"))


def test_it_takes_up_changes_logs_no_query_and_ends_what_runs(tmp_path):
    gallery = tmp_path / "g"
    shutil.copytree(demo_folder() / "gallery", gallery)
    with served(tmp_path, "--gallery", gallery) as server:
        assert search(server.address)["photos"] == 254
        with pytest.raises(HTTPError) as refused:
            search(server.address, "a" * 200_000)
        assert "the address cannot be used" in json.loads(refused.value.read())["error"]
        manifest = GalleryManifest.load(gallery)
        (block,) = manifest.blocks
        replace(manifest, blocks=(replace(block, deleted=(0, 1, 2)),)).save(gallery)  # as `index` does for lost photos
        while search(server.address, SECRET.replace(" ", "%20"))["photos"] != 251:
            pass  # it looks at the gallery once a second
        answers = []

        def ask():
            with contextlib.suppress(OSError, HTTPException):  # the server has stopped before it was asked
                answers.append(search(server.address, limit=100, skip=100))

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        while b'shan_working{queue="search"} 0.0' in get(f"{server.address}/metrics") and not answers:
            pass
        server.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert server.process.wait(240) == 0
        assert [len(one["hits"]) for one in answers] == [100] * len(answers)
        assert answers  # those that had come in by then
        assert SECRET.split()[-1] not in server.said
        assert SECRET.split()[2] not in server.said
        assert "Traceback" not in server.said
        assert server.said.rstrip().endswith("stopped")


def test_others_than_this_machine_need_the_token(tmp_path):
    token = "0123456789abcdef"
    with served(tmp_path, "--host", "0.0.0.0", SHAN_TOKEN=token) as server:
        with pytest.raises(HTTPError, match="401"):
            get(f"{server.address}/api/galleries")
        assert b"demo" in get(f"{server.address}/api/galleries", Authorization=f"Bearer {token}")
        assert f"other machines reach it at http://{socket.gethostname()}:" in server.said


def test_what_cannot_be_served_is_told_at_once(tmp_path):
    assert "needs a token" in refusal("serve", "--host", "0.0.0.0")
    assert "can be guessed" in refusal("serve", "--token", "short")
    assert "there is no gallery at" in refusal("serve", "--gallery", tmp_path / "none")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "choose another --port" in refusal("serve", "--port", taken.getsockname()[1])


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_it_opens_no_socket_but_its_own(tmp_path):
    trace = [
        "strace",
        "--seccomp-bpf",
        "--follow-forks",
        "--quiet=all",
        "--trace=%network",
        f"--output={tmp_path / 't'}",
    ]
    with served(tmp_path, before=tuple(trace)) as server:
        search(server.address)
        get(f"{server.address}/api/thumbnail?id=dog.jpg")
        own = server.address.rpartition(":")[2]
        child = re.search(r"^(\d+) ", (tmp_path / "t").read_text())
        import os

        os.kill(int(child[1]), signal.SIGINT)
        server.process.wait(240)
    calls = (tmp_path / "t").read_text().splitlines()
    assert [line for line in calls if " connect(" in line] == []
    bound = [line for line in calls if " bind(" in line]
    assert len(bound) == 1
    assert "127.0.0.1" in bound[0], own
    sockets = [line for line in calls if re.search(r" socket\(", line)]
    assert len(sockets) == 1
