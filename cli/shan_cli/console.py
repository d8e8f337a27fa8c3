"""What every command shares: where text goes, progress bars, and the option types."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

messages = Console(stderr=True, highlight=False)


class DeviceOption(StrEnum):
    """Where graphs run."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class StorageOption(StrEnum):
    """How numbers are stored."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"


Device = Annotated[DeviceOption, typer.Option(help="Where the graphs run; cpu or cuda fail rather than fall back.")]
Storage = Annotated[StorageOption, typer.Option(help="Numbers on disk: float16 takes half the space.")]
Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON on standard output.")]
Gallery = Annotated[
    Path | None,
    typer.Option(help="Gallery to search; else the one in SHAN_GALLERY, else the bundled demo.", show_default=False),
]
Model = Annotated[
    Path | None,
    typer.Option(
        help="Bundle that made the gallery; else the one in SHAN_MODEL, else the bundled demo.",
        show_default=False,
    ),
]


@contextmanager
def progress(label: str, unit: str) -> Iterator[tuple[Callable[[int], None], Callable[[int], None]]]:
    """A bar on standard error: gives (set the total, set how many are done)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=messages, transient=False, disable=not messages.is_terminal) as bar:
        task = bar.add_task(label, total=None)
        yield (lambda total: bar.update(task, total=total)), (lambda done: bar.update(task, completed=done))


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False))
