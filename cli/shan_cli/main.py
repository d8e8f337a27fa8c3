"""The `shan-engine` command."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from shan_engine.base.errors import ShanError
from typer.core import TyperGroup

from shan_cli import gallery, interrupts, store
from shan_cli.commands import App
from shan_cli.compile import compile_
from shan_cli.console import say
from shan_cli.doctor import doctor
from shan_cli.ending import Ending
from shan_cli.evaluate import evaluate
from shan_cli.export import export
from shan_cli.extract import extract
from shan_cli.import_ import import_
from shan_cli.import_checkpoint import import_checkpoint
from shan_cli.index import index
from shan_cli.index_captions import index_captions
from shan_cli.init import init
from shan_cli.models import models
from shan_cli.read import read
from shan_cli.repair import repair
from shan_cli.score import score
from shan_cli.search import search
from shan_cli.serve import serve
from shan_cli.train import train
from shan_cli.tune import tune
from shan_cli.update import update
from shan_cli.verify import verify
from shan_cli.watch import watch


class Commands(TyperGroup):
    """All commands. A user's error prints one sentence and exits 1, an interrupt exits 130."""

    def make_context(self, *words: Any, **options: Any) -> Any:
        """Read the words that come before a command, for which modules are loaded."""
        try:
            return super().make_context(*words, **options)
        except KeyboardInterrupt as interrupt:
            Ending().say()
            raise typer.Exit(130) from interrupt

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # Typer's public name of it
        """Run the chosen command."""
        ctx.obj = ending = Ending()
        try:
            answer = self._answer(ctx)
        except ShanError as error:
            say(f"error: {error}", style="red")
            raise typer.Exit(1) from error
        except KeyboardInterrupt as interrupt:
            ending.say()
            raise typer.Exit(130) from interrupt
        except BrokenPipeError as error:  # as in `shan-engine search … | head`
            _drop_answer()
            raise typer.Exit(141) from error
        except OSError as error:
            _drop_answer()
            reason = error.strerror or error
            said = (
                f"cannot use {error.filename}: {reason}; check the name and its permissions"
                if error.filename
                else f"the answer cannot be written: {reason}; check the disk and the output, and run again"
            )
            say(f"error: {said}", style="red")
            raise typer.Exit(1) from error
        return answer

    def _answer(self, ctx: typer.Context) -> Any:
        try:
            answer = super().invoke(ctx)
            sys.stdout.flush()  # a closed pipe fails here, not as the interpreter ends
        except Exception as error:
            if interrupts.came():
                raise KeyboardInterrupt from error
            raise
        return answer


def _drop_answer() -> None:
    """Discard what is still to be printed: the interpreter writes it as it ends, and would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


app = App(
    cls=Commands,
    help="Search photo collections with words, offline, with exact fine-grained scores.\n\n"
    'Try it at once:  shan-engine search "a dog on grass"\n\n'
    'Your own photos:  shan-engine init ~/Pictures, then  update, then  search "…"',
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command()(search)
app.command()(serve)
app.command()(init)
app.command()(update)
app.command()(watch)
app.command()(extract)
app.command()(read)
app.command("import")(import_)
app.command()(index)
app.command("index-captions")(index_captions)
app.command()(tune)
app.command()(score)
app.command()(evaluate)
app.add_typer(store.app, name="store")
app.add_typer(gallery.app, name="gallery")
app.command()(models)
app.command()(train)
app.command()(export)
app.command("import-checkpoint")(import_checkpoint)
app.command("compile")(compile_)
app.command()(verify)
app.command()(repair)
app.command()(doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # takes a twentieth of a second

        print(version("shan-engine"))
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Search photo collections with words."""
