"""Where text goes: messages, the log and progress to standard error, JSON answers to standard output."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Protocol

from rich.console import Console

messages = Console(stderr=True, highlight=False, emoji=False)
_ENDLESS = 100_000
_CONTROLS = (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_ESCAPES = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _CONTROLS}
_IN_JSON = {code: f"\\u{code:04x}" for code in _CONTROLS if code >= 0x7F}  # JSON escapes those below itself
_ESCAPES_BUT_LINES = {code: shown for code, shown in _ESCAPES.items() if chr(code) not in "\n\t"}


def printable(text: str) -> str:
    """A name for a table or a message: control characters, which a terminal would obey, as escapes such as `\\x1b`."""
    return text.translate(_ESCAPES)


def answers() -> Console:
    """The console for answers: as wide as a terminal or COLUMNS say, else without an end, so that nothing is folded."""
    endless = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(width=_ENDLESS if endless else None, emoji=False)


def say(text: str, style: str | None = None) -> None:
    """Print a message on standard error, as it is: no markup, no line breaks of our own."""
    messages.print(text.translate(_ESCAPES_BUT_LINES), style=style, markup=False, soft_wrap=True)


def say_any(text: str) -> None:
    """`say`, unless there is nothing to say."""
    if text:
        say(text)


def show_log(wanted: bool) -> None:
    """Show the engine's log on standard error: one line for each choice that it makes."""
    if not wanted:
        return
    import logging

    class Said(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            say(f"{record.name}: {record.getMessage()}", style="dim")

    logger = logging.getLogger("shan_engine")
    logger.setLevel(logging.INFO)
    logger.handlers[:] = [Said()]


def log(text: str) -> None:
    """Log a choice of the command line itself."""
    import logging  # here, so that --help starts without it

    logging.getLogger("shan_engine.command").info("%s", text)


class OnDone(Protocol):
    """What long work calls as it goes on."""

    def __call__(self, done: int, note: str = "") -> None:
        """So many are done; `note` is shown beside the number."""


@contextmanager
def progress(label: str, unit: str, log_seconds: float = 60) -> Iterator[tuple[Callable[[int], None], OnDone]]:
    """Show progress on standard error: a bar on a terminal, else a line every `log_seconds`.

    Gives two functions: one sets the total, the other how many are done.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    terminal = messages.is_terminal
    with Progress(*columns, console=messages, disable=not terminal) as bar:
        task = bar.add_task(label, total=None, note="")
        began = said = time.monotonic()
        first: int | None = None

        def on_done(done: int, note: str = "") -> None:
            nonlocal said, first
            bar.update(task, completed=done, note=note)
            now, total = time.monotonic(), bar.tasks[0].total
            first = done if first is None else first
            if not terminal and now - said >= log_seconds and total and done > first:
                left = timedelta(seconds=round((total - done) * (now - began) / (done - first)))
                say(f"{label}: {done:,} of {total:,.0f} {unit}, {left} left{note and ', '}{note}")
                said = now

        yield (lambda total: bar.update(task, total=total)), on_done


def print_json(value: Any) -> None:
    """Print one JSON document on standard output, with control characters as escapes.

    Raises ValueError for NaN and infinity, which JSON does not have.
    """
    unicode = sys.stdout.encoding.lower() == "utf-8"  # else JSON's own escapes: Python's would not be JSON
    print(json.dumps(value, indent=2, ensure_ascii=not unicode, allow_nan=False).translate(_IN_JSON))


def print_facts(facts: Mapping[str, object]) -> None:
    """Facts about a store or a gallery, one a line."""
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):18} {value}")
