"""`shan-engine score`."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shan_cli.console import Backend, BackendOption, Device, DeviceOption, Model, Precision, messages, progress
from shan_cli.opening import new_scorer, open_galleries

if TYPE_CHECKING:
    from shan_engine.jobs.compute import Runner
    from shan_engine.jobs.job import Progress


class DirectionOption(StrEnum):
    """What is ranked for what."""

    TEXT_TO_IMAGE = "text-to-image"
    IMAGE_TO_TEXT = "image-to-text"


def score(
    queries: Annotated[
        Path,
        typer.Option(help="Captions: .txt, one a line; a column of .jsonl, .csv or .parquet; or - for standard input."),
    ],
    output: Annotated[
        Path,
        typer.Option(
            help="best.parquet: a row a hit; scores.npy: the whole matrix, with its ids in scores.rows.txt and "
            "scores.columns.txt."
        ),
    ],
    gallery: Annotated[
        list[Path] | None,
        typer.Option(
            help="Gallery to score, repeatable; else the one in SHAN_GALLERY, else the bundled demo.",
            show_default=False,
        ),
    ] = None,
    model: Model = None,
    column: Annotated[str | None, typer.Option(help="Column of the captions.", show_default="caption")] = None,
    id_column: Annotated[
        str | None, typer.Option(help="Column of the captions' ids.", show_default="numbers from 1")
    ] = None,
    direction: Annotated[
        DirectionOption, typer.Option(help="Rank images for each caption, or captions for each image.")
    ] = DirectionOption.TEXT_TO_IMAGE,
    top_k: Annotated[
        int | None,
        typer.Option("--top-k", "-k", min=1, help="Best hits of each.", show_default="10 without --threshold"),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Only pairs that score so much or more.", show_default=False)
    ] = None,
    since: Annotated[
        Path | None,
        typer.Option(help="Earlier result of the same captions: only what is new is scored.", show_default=False),
    ] = None,
    memory: Annotated[str, typer.Option(help="What the job may hold beside the loaded model.")] = "1GB",
    block_pairs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Pairs of a block: what a kill loses, Ctrl-C waits for.", show_default="by the job's size"
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--restart", help="Go on with a job that was begun, or begin it anew.")
    ] = True,
    log_json: Annotated[
        bool, typer.Option("--log-json", help="Progress as JSON lines on standard error, instead of a bar.")
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option(
            help="Run the blocks on Ray: local (this machine), auto (the running cluster), or an address.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Ray workers.", show_default="one a CPU of the cluster")
    ] = None,
    device: Device = DeviceOption.AUTO,
    backend: Backend = BackendOption.AUTO,
    precision: Precision = None,
) -> None:
    """Score captions with every image of one or more galleries.

    The work is kept block by block in OUTPUT.job: stopped in any way, the same command goes on where it was. Ctrl-C
    ends after the current block, a second one at once.

    Examples:

      shan-engine score --gallery G --queries captions.txt --output best.parquet --top-k 20

      shan-engine score --gallery G --queries captions.txt --output scores.npy

      shan-engine score --gallery G1 --gallery G2 --queries new.csv --column title --id-column sku --output best.parquet

      shan-engine score --gallery G --queries captions.txt --since monday.parquet --output tuesday.parquet

      shan-engine score --gallery G --queries captions.txt --output best.parquet --ray local
    """
    from shan_engine.base.errors import InputError
    from shan_engine.base.files import refuse_overwriting
    from shan_engine.jobs.compute import run_here
    from shan_engine.jobs.options import JobOptions, parse_memory
    from shan_engine.jobs.run import score_job
    from shan_engine.text.query_files import read_queries
    from shan_engine.writers.matrix_npy import columns_path, rows_path

    for file in (output, rows_path(output), columns_path(output)) if output.suffix == ".npy" else (output,):
        refuse_overwriting(file, queries)
    options = JobOptions(direction.value, top_k, threshold, parse_memory(memory), block_pairs)
    if workers and not ray:
        raise InputError("--workers are Ray's: add --ray local, or leave it out")
    bundle, galleries = open_galleries(gallery or [None], model)
    with ExitStack() as stack:
        runner: Runner = run_here
        if ray:
            from shan_engine.jobs.ray_run import RayCluster

            runner = stack.enter_context(RayCluster(ray, workers))
        report = stack.enter_context(_json_lines() if log_json else _bar())
        stop, on_progress = stack.enter_context(_stopping(report))
        result = score_job(
            new_scorer(bundle, device, backend, precision),
            galleries,
            read_queries(queries, column=column, id_column=id_column),
            output,
            options=options,
            restart=not resume,
            since=since,
            runner=runner,
            stop=stop,
            on_progress=on_progress,
        )
    if not result.finished:
        raise KeyboardInterrupt
    said = f"{output}: {result.rows:,} rows of {result.captions:,} captions x {result.images:,} images"
    if result.resumed:
        said += f"; {result.resumed:,} of {result.blocks:,} blocks were done before"
    messages.print(said, markup=False, soft_wrap=True)


@contextmanager
def _stopping(report: Callable[[Progress], None]) -> Iterator[tuple[Callable[[], bool], Callable[[Progress], None]]]:
    """Whether Ctrl-C was pressed, and `report` as the job calls it.

    Before the first report, while captions are read, Ctrl-C ends at once, and so does a second one.
    """
    asked = False

    def ask(*_: object) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        messages.print("stopping after the current block; Ctrl-C again stops at once", soft_wrap=True)

    def on_progress(done: Progress) -> None:
        if not asked:
            signal.signal(signal.SIGINT, ask)
        report(done)

    before = signal.getsignal(signal.SIGINT)
    try:
        yield (lambda: asked), on_progress
    finally:
        signal.signal(signal.SIGINT, before)


class _Speed:
    """Pairs a second since the first report, and the time that is left."""

    def __init__(self) -> None:
        self._began, self._first = time.monotonic(), -1

    def of(self, done: Progress) -> tuple[float, float | None]:
        """Pairs a second and seconds left, None where nothing is known yet."""
        if self._first < 0:
            self._began, self._first = time.monotonic(), done.pairs_done
        speed = (done.pairs_done - self._first) / max(1e-9, time.monotonic() - self._began)
        return speed, (done.pairs - done.pairs_done) / speed if speed else None


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    speed = _Speed()
    with progress("scoring", "pairs") as (on_start, on_done):

        def report(done: Progress) -> None:
            on_start(done.pairs)
            pairs, _ = speed.of(done)
            on_done(done.pairs_done, f"block {done.blocks_done:,} of {done.blocks:,}, {pairs:,.0f} pairs/s")

        yield report


@contextmanager
def _json_lines() -> Iterator[Callable[[Progress], None]]:
    speed = _Speed()

    def report(done: Progress) -> None:
        pairs, left = speed.of(done)
        rates = {"pairs_per_second": round(pairs), "seconds_left": None if left is None else round(left, 1)}
        print(json.dumps({**vars(done), **rates}), file=messages.file, flush=True)

    yield report
