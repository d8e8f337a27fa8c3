"""The way in, for `shan-engine` and `python -m shan_cli`."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
from pathlib import Path
from types import FrameType

_NEW_OBJECTS = 50_000  # before Python looks for cycles: what a search loads stays, and it ends before cycles add up


def heed_termination() -> None:
    """End on SIGTERM as on Ctrl-C, also as a container's process 1, which otherwise would not heed it."""
    signal.signal(signal.SIGTERM, _as_interrupt)


def _as_interrupt(_: int, frame: FrameType | None) -> None:
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):
        handler(signal.SIGINT, frame)
    else:  # a shell's background job ignores Ctrl-C
        raise KeyboardInterrupt


def run() -> None:
    """Run the command line.

    A file name that is no valid UTF-8 is printed with its odd bytes spelt out. Output that was closed goes nowhere.
    """
    try:
        if sys.argv[1:2] == ["search"]:
            gc.set_threshold(_NEW_OBJECTS)
        heed_termination()
        sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
        sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        from shan_cli.main import app  # takes a moment, in which Ctrl-C may come

        app.of(sys.argv[1:])()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    finally:
        gc.freeze()  # Python's last collections would look at all that the process goes without in a moment


if __name__ == "__main__":
    run()
