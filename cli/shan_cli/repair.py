"""`shan-engine repair`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from shan_cli.console import messages, progress, say
from shan_cli.options import Verbose


def repair(
    path: Annotated[
        Path, typer.Argument(help="Store, gallery, gallery of captions, bundle, job, or collection to repair.")
    ],
    store: Annotated[
        Path | None,
        typer.Option(
            help="Feature store that the gallery was made from.", show_default="that of the gallery's collection"
        ),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Another copy of the bundle.", show_default="any copy on this machine")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Leave out what cannot be rebuilt, without asking.")] = False,
    verbose: Verbose = False,
) -> None:
    """Rebuild what `verify` finds damaged, and keep everything else.

    Examples:

      shan-engine repair pictures.gallery --store pictures.store

      shan-engine repair photos

    A gallery's images are encoded again from its store. A store keeps every readable record. A job drops its damaged
    blocks and scores them again. A bundle's files are copied from another copy.

    The command first lists what cannot be rebuilt, and leaves it out only if you agree.
    """
    from shan_engine.base.errors import InputError
    from shan_engine.integrity.repair import repair
    from shan_engine.integrity.verify import verify

    def agree(lost: Sequence[str]) -> None:
        for sentence in lost:
            say(f"nothing can rebuild {sentence}")
        if yes or (_asks() and typer.confirm("Leave that out?", default=False, err=True)):
            return
        raise InputError(f"{path} is not repaired: run the command again with --yes to leave that out")

    with progress("repairing", "done") as (on_start, on_done):
        done = repair(path, store=store, model=model, agree=agree, on_start=on_start, on_done=on_done)
    for sentence in done:
        say(sentence)
    left = [finding.sentence for verdict in verify(path) for finding in verdict.findings]
    if left:
        raise InputError(f"{path} is still damaged: {left[0]}")
    say(f"{path} is sound")


def _asks() -> bool:
    return sys.stdin.isatty() and messages.is_terminal
