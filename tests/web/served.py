"""`shan-engine serve` in a process of its own."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from installed import COMMAND, environment

ADDRESS = re.compile(r"the page is at (http://\S+?)/(#\S*)? ")


@contextmanager
def served(here: Path, *arguments: object, before: tuple[object, ...] = (), **variables: str) -> Iterator[Server]:
    """A server on a free port, with its cache in `here`; it is killed if it is still there at the end."""
    errors = here / "errors"
    called = [*before, COMMAND, "serve", "--port", "0", "--cache", here / "cache", "--device", "cpu", *arguments]
    with errors.open("w") as file:
        process = subprocess.Popen(
            list(map(str, called)), cwd=here, env=environment(HOME=str(here), **variables), stderr=file, stdout=file
        )
    server = Server(process, errors)
    try:
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


class Server:
    """The process, and the file of what it says."""

    def __init__(self, process: subprocess.Popen[bytes], errors: Path) -> None:
        self.process, self._errors = process, errors

    @property
    def said(self) -> str:
        return self._errors.read_text("utf-8")

    @property
    def address(self) -> str:
        """The page's address, once the server listens."""
        import time

        end = time.monotonic() + 300
        while time.monotonic() < end:
            if found := ADDRESS.search(self.said):
                return found[1]
            assert self.process.poll() is None, self.said
            time.sleep(0.05)
        raise AssertionError(f"no address within 300 s: {self.said}")
