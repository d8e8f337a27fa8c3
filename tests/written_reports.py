"""What tests of several benchmarks share: the demo, and what a report says of itself."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import typer.main
from shan_cli.main import app

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "artifacts" / "demo"
RECORDED = {"commit", "date", "cpu", "cpus", "versions"}


def report(path: Path) -> dict:
    return json.loads(path.read_text("utf-8"))


def assert_options_exist(words: Sequence[str]) -> None:
    """Of a call of `shan-engine`."""
    command, rest = typer.main.get_command(app), list(words)
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest.pop(0)]
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    assert {word for word in rest if word.startswith("--")} <= known, shlex.join(words)
