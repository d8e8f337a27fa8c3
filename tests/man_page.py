"""Write docs/shan-engine.1, the man page: what `--help` says of every command, as roff.

`python tests/renew_docs.py` writes it, and tests/cli/test_docs.py compares it with the commands. A wheel installs it.
click-man does the same for Click, but not for Typer, which has a copy of Click of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import typer.main
from cli_page import command_names
from shan_cli.main import app

PAGE = Path(__file__).parents[1] / "docs" / "shan-engine.1"
HEAD = r""".\" Written by tests/renew_docs.py from the help of the commands; do not edit it.
.TH SHAN\-ENGINE 1 "" "shan\-engine {version}" "User Commands"
.SH NAME
shan\-engine \- search photo collections with words, offline
.nh
.ad l
"""


def main() -> None:
    """Write the page anew."""
    PAGE.write_text(page(), "utf-8")


def page() -> str:
    """The page as the commands are now."""
    root = typer.main.get_command(app)
    top = root.make_context("shan-engine", [], resilient_parsing=True)
    lines = [HEAD.format(version=version("shan-engine")).rstrip(), ".SH SYNOPSIS", _usage(top)]
    lines += [".SH DESCRIPTION", *_paragraphs(root.help or ""), ".SH OPTIONS", *_options(top), ".SH COMMANDS"]
    for name in filter(None, command_names(root)):
        context = top
        for word in name.split():
            command = context.command.commands[word]  # type: ignore[attr-defined]
            context = command.make_context(word, [], parent=context, resilient_parsing=True)
        lines += [f".SS {_escaped(name)}", _usage(context), ".PP"]
        lines += [*_paragraphs(context.command.help or ""), *_options(context)]
    return "\n".join(lines) + "\n"


def _usage(context: Any) -> str:
    pieces = " ".join(context.command.collect_usage_pieces(context))
    return f"\\fB{_escaped(context.command_path)}\\fR {_escaped(pieces)}"


def _options(context: Any) -> Iterator[str]:
    """Arguments and options, each name with its text indented below."""
    for parameter in context.command.get_params(context):
        if record := parameter.get_help_record(context):
            names, text = record
            yield from (".TP", f"\\fB{_escaped(names)}\\fR", _escaped(" ".join(text.split())))


def _paragraphs(text: str) -> Iterator[str]:
    """Paragraphs of a help text. Those that are indented are examples, whose lines stay as they are."""
    for paragraph in text.split("\n\n"):
        if paragraph.startswith(" "):
            yield from (".PP", ".nf", ".RS 4", *map(_escaped, paragraph.strip().splitlines()), ".RE", ".fi")
        else:
            yield from (".PP", _escaped(" ".join(paragraph.split())))


def _escaped(text: str) -> str:
    """Text as roff prints it: a hyphen stays one that can be copied, and no line is taken for a request."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    return f"\\&{text}" if text.startswith(".") else text
