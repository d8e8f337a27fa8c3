"""A signal ends a command at once, whatever library is at work."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from installed import environment, heed_interrupts

BUSY = """
import hashlib, threading
from shan_cli import interrupts
from shan_cli.ending import Ending
interrupts.heed()
ending = Ending()
with ending.of("update"):
    threading.Timer(0.3, lambda: print("ready", flush=True)).start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 1 << 30)  # a call that no signal stops, for ten minutes
print("it ended by itself")
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_an_update_at_once_whatever_library_is_at_work(how):
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
        preexec_fn=heed_interrupts,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    process.send_signal(how)
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, output) == (130, "")
    assert errors == "interrupted: what was complete is kept; run the command again to go on\n"


IMPORTING = """
import os, signal, time
from shan_cli import interrupts
interrupts.heed()
lines = "os.kill(os.getpid(), number)\\nfor _ in range(10**6): pass\\nos.write(1, b'the lock is free')"
exec(compile(lines, "<frozen importlib._bootstrap>", "exec"), {"os": os, "number": getattr(signal, NAME)})
time.sleep(600)
"""


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM"])
def test_a_signal_waits_until_an_import_has_let_go_of_its_lock(how):
    done = subprocess.run(
        [sys.executable, "-c", IMPORTING.replace("NAME", repr(how))], capture_output=True, text=True, check=False,
        env=environment(), preexec_fn=heed_interrupts, timeout=120,
    )  # fmt: skip
    assert done.stdout == "the lock is free"
    assert done.stderr.endswith("KeyboardInterrupt\n")
