"""`shan-engine score`."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from shan_engine.base.choices import Direction

from shan_cli.console import messages, progress, say, say_any
from shan_cli.opening import open_engine
from shan_cli.options import Backend, Device, Model, Precision, Verbose

if TYPE_CHECKING:
    from shan_engine.jobs.compute import Runner
    from shan_engine.jobs.job import Progress


def score(
    queries: Annotated[
        Path,
        typer.Option(help="Captions: .txt, one a line; a column of .jsonl, .csv or .parquet; or - for standard input."),
    ],
    output: Annotated[
        Path,
        typer.Option(
            help="best.parquet: a row for each hit. scores.npy: the whole matrix, with its ids in scores.rows.txt and "
            "scores.columns.txt."
        ),
    ],
    gallery: Annotated[
        list[Path] | None,
        typer.Option(
            help="Gallery to score. Repeat it for several.",
            show_default="SHAN_GALLERY, the collection, else the bundled demo",
        ),
    ] = None,
    model: Model = None,
    column: Annotated[str | None, typer.Option(help="Column of the captions.", show_default="caption")] = None,
    id_column: Annotated[
        str | None, typer.Option(help="Column of the captions' ids.", show_default="numbers from 1")
    ] = None,
    direction: Annotated[
        Direction, typer.Option(help="Rank images for each caption, or captions for each image.")
    ] = "text-to-image",
    top_k: Annotated[
        int | None,
        typer.Option("--top-k", "-k", min=1, help="Best hits of each.", show_default="10 without --threshold"),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Keep only pairs with this score or more.", show_default=False)
    ] = None,
    since: Annotated[
        Path | None,
        typer.Option(help="Earlier result of the same captions: only what is new is scored.", show_default=False),
    ] = None,
    with_text: Annotated[
        bool,
        typer.Option(
            "--with-text",
            help="Add a column with the lines in a photo that have words of the caption.",
        ),
    ] = False,
    memory: Annotated[
        str | None,
        typer.Option(
            help="Memory that the job may use beside the loaded model.", show_default="1GB; in a small container less"
        ),
    ] = None,
    block_pairs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Pairs of a block. A kill loses at most a block; Ctrl-C waits for its end.",
            show_default="by the job's size",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--restart", help="Go on with an unfinished job, or start it anew.")
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
        int | None, typer.Option(min=1, help="Ray workers.", show_default="one per CPU of the cluster")
    ] = None,
    device: Device = "auto",
    backend: Backend = "auto",
    precision: Precision = None,
    verbose: Verbose = False,
) -> None:
    """Score captions with every image of one or more galleries.

    Examples:

      shan-engine score --gallery G --queries captions.txt --output best.parquet --top-k 20

      shan-engine score --gallery G --queries captions.txt --output scores.npy

      shan-engine score --gallery G1 --gallery G2 --queries new.csv --column title --id-column sku --output best.parquet

      shan-engine score --gallery G --queries captions.txt --since monday.parquet --output tuesday.parquet

      shan-engine score --gallery G --queries captions.txt --output best.parquet --ray local

    Finished blocks are kept in OUTPUT.job. If a job is stopped, run the same command again: it goes on from there.

    Ctrl-C stops after the current block, a second Ctrl-C at once.
    """
    from shan_engine.base.errors import InputError
    from shan_engine.base.files import refuse_overwriting
    from shan_engine.jobs.compute import run_here
    from shan_engine.jobs.options import JobOptions, default_memory, parse_memory
    from shan_engine.text.query_files import read_queries
    from shan_engine.writers.matrix_npy import columns_path, rows_path

    for file in (output, rows_path(output), columns_path(output)) if output.suffix == ".npy" else (output,):
        refuse_overwriting(file, queries)
    options = JobOptions(direction, top_k, threshold, parse_memory(memory) if memory else default_memory(), block_pairs)
    if workers and not ray:
        raise InputError("--workers is for Ray: add --ray local, or leave --workers out")
    places: Sequence[Path | None] = gallery or [None]
    engine, *beside = [open_engine(place, model, device, backend, precision) for place in places]
    with ExitStack() as stack:
        runner: Runner = run_here
        if ray:
            from shan_engine.jobs.ray_run import RayCluster

            runner = stack.enter_context(RayCluster(ray, workers))
        report = stack.enter_context(_json_lines() if log_json else _bar())
        stop, on_progress = stack.enter_context(_stopping(report))
        result = engine.score_file(
            read_queries(queries, column=column, id_column=id_column),
            output,
            beside=beside,
            options=options,
            restart=not resume,
            since=since,
            with_text=with_text,
            runner=runner,
            stop=stop,
            on_progress=on_progress,
        )
    if not result.finished:
        raise KeyboardInterrupt
    resumed = f"; {result.resumed:,} of {result.blocks:,} blocks were done before" if result.resumed else ""
    say(f"{output}: {result.rows:,} rows of {result.captions:,} captions x {result.images:,} images{resumed}")
    say_any(result.unknown.sentence())


@contextmanager
def _stopping(report: Callable[[Progress], None]) -> Iterator[tuple[Callable[[], bool], Callable[[Progress], None]]]:
    """Give two functions: whether Ctrl-C was pressed, and `report` as the job calls it.

    Until the first report, while captions are read, Ctrl-C stops at once. So does a second one.
    """
    asked = unsaid = False

    def notice() -> None:
        say("stopping after the current block; Ctrl-C again stops at once")

    def ask(*_: object) -> None:
        nonlocal asked, unsaid
        asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            notice()
        except RuntimeError:  # Ctrl-C came while a report was being written, and a stream cannot be written twice
            unsaid = True

    def on_progress(done: Progress) -> None:
        nonlocal unsaid
        if not asked:
            signal.signal(signal.SIGINT, ask)
        report(done)
        if unsaid:
            unsaid = False
            notice()

    before = signal.getsignal(signal.SIGINT)
    try:
        yield (lambda: asked), on_progress
    finally:
        signal.signal(signal.SIGINT, before)


class _Speed:
    """Pairs a second since the first report, and the time left."""

    def __init__(self) -> None:
        self._began, self._first = time.monotonic(), -1

    def of(self, done: Progress) -> tuple[float, float | None]:
        """Pairs a second, and the seconds left, None while they are unknown."""
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
