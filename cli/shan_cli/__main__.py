"""The way in, for `shan-engine` and `python -m shan_cli`."""

from __future__ import annotations

import gc
import io
import os
import sys
from pathlib import Path

from shan_cli import interrupts

_NEW_OBJECTS = 50_000  # before Python looks for cycles: what a search loads stays, and it ends before cycles add up


def run() -> None:
    """Run the command line.

    A file name that is no valid UTF-8 is printed with its odd bytes spelt out. Output that was closed goes nowhere.
    """
    try:
        if sys.argv[1:2] == ["search"]:
            gc.set_threshold(_NEW_OBJECTS)
        interrupts.heed()
        sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 stays open
        sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115 stays open
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
