"""The installed `shan-engine` command, in processes of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

COMMAND = Path(sys.executable).with_name("shan-engine")


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without our own variables, then `changes`; one thread a process."""
    held = {name: value for name, value in os.environ.items() if not name.startswith("SHAN_")}
    return {**held, "COLUMNS": "200", "OMP_NUM_THREADS": "1", **changes}


def shan(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `shan-engine` with these arguments, its output as text."""
    return subprocess.run(
        [COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, env=environment(**variables)
    )


def output_of(*arguments: object, **variables: str) -> str:
    """Standard output of a command that must succeed."""
    return expect_output(shan(*arguments, **variables))


def expect_output(done: subprocess.CompletedProcess[str]) -> str:
    """Standard output of a command that has succeeded."""
    assert done.returncode == 0, done.stderr
    return done.stdout


def refusal(*arguments: object, **variables: str) -> str:
    """The one sentence of a command that must refuse: exit 1, nothing on standard output, no traceback."""
    return expect_refusal(shan(*arguments, **variables))


def expect_refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence of a command that has refused: exit 1, nothing on standard output, no traceback."""
    assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert done.stderr.rstrip().endswith(errors[0])
    return errors[0].removeprefix("error: ")


def heed_interrupts() -> None:
    """In a child: end on SIGINT, even where the tests run in the background of a shell, which ignores it there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start `shan-engine` and leave it running."""
    return subprocess.Popen(
        [COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        preexec_fn=heed_interrupts,
    )


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 300.0) -> None:
    """Wait until a running command has come so far."""
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"it ended before it could be stopped: {process.communicate()}"
        assert time.monotonic() < until
        time.sleep(0.002)
