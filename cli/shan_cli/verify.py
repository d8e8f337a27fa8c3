"""`shan-engine verify`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from shan_cli.console import print_json, progress, say
from shan_cli.options import Json, Verbose


def verify(
    paths: Annotated[
        list[Path], typer.Argument(help="Stores, galleries, galleries of captions, bundles, jobs, or collections.")
    ],
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Say what each path is, and check it against its checksums. Exits 1 if anything is damaged.

    Examples:

      shan-engine verify pictures.store pictures.gallery

      shan-engine verify photos

    For a collection, give its name or its file: the command checks its store and its gallery. It changes nothing.

    Each fault is one sentence with the file, the photos affected and the command that repairs it.
    """
    verify_all(paths, json=json)


def verify_all(paths: Sequence[Path], *, json: bool = False) -> None:
    """Check some paths, and print what is found. Raises InputError if anything is damaged."""
    from shan_engine.base.errors import InputError
    from shan_engine.integrity.verify import verify

    verdicts = []
    for path in paths:
        with progress("verifying", "checked") as (on_start, on_done):
            verdicts += verify(path, on_start=on_start, on_done=on_done)
    if json:
        print_json([verdict.as_dict() for verdict in verdicts])
    faults = []
    for verdict in verdicts:
        (unit, count), *_ = verdict.counts.items()
        for finding in verdict.findings:
            say(finding.sentence)
        damaged = {id for finding in verdict.findings for id in finding.ids}
        if verdict.sound:
            say(f"{verdict.path}: {verdict.named}, all {count:,} {unit} are intact")
        else:
            which = f"{len(damaged):,} of {count:,} {unit} in " if damaged else ""
            faults.append(f"{which}{verdict.path} {'are' if damaged else 'is'} damaged")
    if faults:
        raise InputError(f"{'; '.join(faults)}: run the commands that the messages above name")
