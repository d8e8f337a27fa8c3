"""What every command shares: where text goes, progress bars, and the option types."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

messages = Console(stderr=True, highlight=False)
LOG_SECONDS = 60


class DeviceOption(StrEnum):
    """Where graphs run."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class BackendOption(StrEnum):
    """What scores pairs."""

    AUTO = "auto"
    ONNXRUNTIME = "onnxruntime"
    ONNXRUNTIME_TENSORRT = "onnxruntime-tensorrt"
    TENSORRT = "tensorrt"
    TORCH = "torch"


class PrecisionOption(StrEnum):
    """Precision of TensorRT plans."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"


class StoreStorageOption(StrEnum):
    """How a store's numbers are stored."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"


class GalleryStorageOption(StrEnum):
    """How a gallery's numbers are stored."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    INT8 = "int8"


Device = Annotated[DeviceOption, typer.Option(help="Where the graphs run; cpu or cuda fail rather than fall back.")]
Backend = Annotated[
    BackendOption,
    typer.Option(
        help="Who scores: onnxruntime, on CPU or CUDA, or with its TensorRT provider; tensorrt, from plans that "
        "`compile` made; torch, which keeps the gallery on CUDA devices; auto is torch for --device cuda where PyTorch "
        "and Triton are installed."
    ),
]
Precision = Annotated[
    PrecisionOption | None,
    typer.Option(help="Of TensorRT's plans; else the most exact that there are.", show_default=False),
]


StoreStorage = Annotated[
    StoreStorageOption | None,
    typer.Option(
        help="Numbers on disk: float16 takes half the space; else what the store has, float32 for a new one.",
        show_default=False,
    ),
]
GalleryStorage = Annotated[
    GalleryStorageOption | None,
    typer.Option(
        help="Numbers on disk: float16 takes half the space, int8 a quarter; else what the gallery has, float32 for a "
        "new one.",
        show_default=False,
    ),
]
Captions = Annotated[
    Path,
    typer.Option(help="Tab-separated file with the columns split, image, caption; or a folder of SCAN's *_caps.txt."),
]
MetadataFile = Annotated[
    Path | None,
    typer.Option(
        "--metadata",
        help="Table (.csv or .parquet) of what is known of the images, for `search --where`; takes the place of the "
        "store's.",
        show_default=False,
    ),
]
MetadataIdColumn = Annotated[
    str | None,
    typer.Option(
        "--metadata-id-column",
        help="Column of the table that has the images' ids; else id, image or path.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON on standard output.")]
Gallery = Annotated[
    Path | None,
    typer.Option(help="Gallery to search; else the one in SHAN_GALLERY, else the bundled demo.", show_default=False),
]


def _model(purpose: str) -> Any:
    return typer.Option(help=f"{purpose}; else the one in SHAN_MODEL, else the bundled demo.", show_default=False)


Model = Annotated[Path | None, _model("Bundle that made the gallery")]
ExtractorModel = Annotated[Path | None, _model("Bundle whose feature extractor is used, where --extractor names none")]
EncoderModel = Annotated[Path | None, _model("Bundle to encode with; searches then need the same one")]
QuerybankSize = Annotated[
    int | None, typer.Option(help="How many of --querybank to take, evenly spread; 2,000.", min=1, show_default=False)
]
InverseTemperature = Annotated[
    float | None,
    typer.Option(
        help="β of the normalisation, 20: the higher, the more the querybank's best scores count alone.",
        show_default=False,
    ),
]


def refuse_without_querybank(querybank: object, size: int | None, inverse_temperature: float | None) -> None:
    """Raise InputError for options of a querybank where none is named."""
    from shan_engine.base.errors import InputError

    if querybank is None and (size is not None or inverse_temperature is not None):
        option = "--inverse-temperature" if size is None else "--querybank-size"
        raise InputError(f"{option} is of a querybank: name one with --querybank, or leave it out")


class OnDone(Protocol):
    """What long work calls as it goes on."""

    def __call__(self, done: int, note: str = "") -> None:
        """So many are done; `note` is shown beside."""


@contextmanager
def progress(label: str, unit: str) -> Iterator[tuple[Callable[[int], None], OnDone]]:
    """Progress on standard error, gives (set the total, set how many are done): a bar, or in a log a line a minute."""
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
            if not terminal and now - said >= LOG_SECONDS and total and done > first:
                left = timedelta(seconds=round((total - done) * (now - began) / (done - first)))
                line = f"{label}: {done:,} of {total:,.0f} {unit}, {left} left{note and ', '}{note}"
                messages.print(line, markup=False, soft_wrap=True)
                said = now

        yield (lambda total: bar.update(task, total=total)), on_done


def need(extra: str, *modules: str) -> None:
    """Raise BackendError, naming the extra that brings it, for the first of some modules that is not installed."""
    from importlib.util import find_spec

    from shan_engine.base.errors import BackendError
    from shan_engine.base.optional import install_command

    for module in modules:
        if find_spec(module) is None:
            raise BackendError(f"{module} is not installed: {install_command(extra)}")


def print_json(value: Any) -> None:
    """One JSON document on standard output. Raises ValueError for NaN and infinity, which JSON does not have."""
    unicode = sys.stdout.encoding.lower() == "utf-8"  # else what it lacks would be spelt out as Python does, not JSON
    print(json.dumps(value, indent=2, ensure_ascii=not unicode, allow_nan=False))
