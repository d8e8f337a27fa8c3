"""The `shan-engine` command."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer
from shan_engine.errors import ShanError

from . import collect, modelling, querying, store
from .console import messages
from .health import doctor

app = typer.Typer(
    help="Search photo collections with words, offline, with exact fine-grained scores.\n\n"
    'Try it at once:  shan-engine search "a dog on grass"\n\n'
    "Your own photos:  shan-engine extract PHOTOS --store S, then  index S --output G, "
    'then  search "…" --gallery G',
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command()(querying.search)
app.command()(collect.extract)
app.command("import")(collect.import_)
app.command()(collect.index)
app.command()(querying.score)
app.command()(querying.evaluate)
app.add_typer(store.app, name="store")
app.command()(modelling.train)
app.command()(modelling.export)
app.command()(doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(version("shan-engine"))
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Search photo collections with words."""


def run() -> None:
    """Entry point: a user's error is one sentence and exit 1; an interrupt exits 130."""
    try:
        app()
    except ShanError as error:
        messages.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        messages.print("interrupted: what was complete is kept; run the command again to go on", soft_wrap=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
