"""Run a module in a process of its own: reading a damaged page may end that one, never ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any


def isolated(module: str, *arguments: str) -> Iterator[Any]:
    """The values that a module prints in another process, one JSON text a line; its last one must be null.

    Raises ChildProcessError where it ended with a status of its own, which says nothing about what it read. Raises
    EOFError where a signal ended it, as an unreadable page does.
    """
    # -P: a file in the current folder with the name of a module must not be imported instead of it.
    command = [sys.executable, "-P", "-m", module, *arguments]
    # A group of its own: Ctrl-C is ours to answer.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="ascii", process_group=0) as child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                value = json.loads(line)
                if value is None:
                    return
                yield value
            status = child.wait()
        finally:
            child.kill()
    if status > 0:
        raise ChildProcessError(status)
    raise EOFError


def tell(values: Iterable[Any], *, at_once: Callable[[Any], bool] = lambda value: False) -> None:
    """Print values as `isolated` reads them, some without delay; end this process where nobody reads any more."""
    try:
        for value in values:
            print(json.dumps(value), flush=at_once(value))
        print("null", flush=True)
    except BrokenPipeError:  # whoever asked was killed
        os._exit(1)
