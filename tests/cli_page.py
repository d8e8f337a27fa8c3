"""Write docs/cli.md: every command with what its `--help` prints.

`python tests/renew_docs.py` writes it, and tests/cli/test_docs.py compares it with the commands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main
from shan_cli.main import app
from typer.testing import CliRunner

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
COLUMNS = "100"
STYLES = re.compile(r"\x1b\[[0-9;]*m")  # some terminals of CI have colours
HEAD = """# Commands

What `--help` prints for each command. `python tests/renew_docs.py` writes this page; do not edit it.
"""


def main() -> None:
    """Write the page anew."""
    PAGE.write_text(page(), "utf-8")


def page() -> str:
    """The page as the commands are now."""
    shown = ((name, _help(name)) for name in command_names(typer.main.get_command(app)))
    return HEAD + "".join(f"\n## {f'shan-engine {name}'.strip()}\n\n```text\n{text}\n```\n" for name, text in shown)


def command_names(command: Any, name: str = "") -> Iterator[str]:
    """The words of every command, groups before their commands; the first has none."""
    yield name
    for part, inner in getattr(command, "commands", {}).items():
        yield from command_names(inner, f"{name} {part}".strip())


def _help(name: str) -> str:
    done = CliRunner().invoke(app, [*name.split(), "--help"], prog_name="shan-engine", env={"COLUMNS": COLUMNS})
    assert done.exit_code == 0, done.output
    lines = STYLES.sub("", done.stdout).splitlines()
    return "\n".join(line.rstrip() for line in lines).strip("\n")
