"""What all commands have in common: `~` in every path is the home folder, and an option is given once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperOption
from typer.main import get_command_name
from typer.models import CommandInfo


class Command(TyperCommand):
    """A command that expands `~`, which shells leave alone in `--store=~/x`, and refuses an option given twice."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments. An option that takes one value and has two ends with status 2."""
        _, _, given = self.make_parser(ctx).parse_args(args=[*args])
        for param in given:
            once = isinstance(param, TyperOption) and not (param.multiple or _plain_flag(param))
            if once and given.count(param) > 1:
                name = max(param.opts, key=len)
                raise typer.BadParameter(f"it is given {given.count(param)} times: give it once", ctx, param_hint=name)
        rest = super().parse_args(ctx, args)
        for name, value in ctx.params.items():
            ctx.params[name] = _at_home(value)
        return rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command. On a signal it ends as `Ending` says of it."""
        with ctx.obj.of(ctx.info_name):
            return super().invoke(ctx)


class App(typer.Typer):
    """A Typer app of such commands."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        """Add a command, as `typer.Typer.command` does."""
        return super().command(name, **{"cls": Command, **options})

    def of(self, words: Sequence[str]) -> App:
        """The app with the command alone that the first of some words names; whole where it names none.

        Typer builds every command that an app has, which takes a twentieth of a second for all.
        """
        one, name = copy(self), words[0] if words else ""
        one.registered_commands = [info for info in self.registered_commands if _name(info) == name]
        one.registered_groups = [info for info in self.registered_groups if info.name == name]
        return one if one.registered_commands or one.registered_groups else self


def _name(command: CommandInfo) -> str:
    return command.name or get_command_name(command.callback.__name__ if command.callback else "")


def _plain_flag(param: TyperOption) -> bool:
    return bool(param.is_flag and not param.secondary_opts)


def _at_home(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(map(_at_home, value))
    return value.expanduser() if isinstance(value, Path) else value
