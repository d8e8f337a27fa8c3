"""A signal ends a command at once, whatever library is at work."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from installed import environment, heed_interrupts

BUSY = """
import hashlib, threading
from shan_cli.__main__ import heed_termination
from shan_cli.ending import Ending
heed_termination()
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
