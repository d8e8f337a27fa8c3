"""What the pages for users show is what the commands and the notebook print."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from installed import output_of
from notebook import assert_alike, executed
from notebook import output_of as written

ROOT = Path(__file__).parents[2]


def consoles(page: Path) -> list[tuple[str, str]]:
    """Each command of a page's `console` blocks, and the output that follows it."""
    found = []
    for block in page.read_text("utf-8").split("```console\n")[1:]:
        for shown in block.split("```")[0].split("$ ")[1:]:
            command, _, output = shown.partition("\n")
            found.append((command, output))
    return found


def test_commands_print_what_the_page_shows(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("photos").symlink_to(ROOT / "artifacts" / "demo" / "photos")
    Path("captions.txt").write_text("a dog runs over grass\na man climbs a rock\na red car\n")
    shown = consoles(ROOT / "docs" / "searching.md")
    assert len(shown) >= 6
    for command, output in shown:
        name, *arguments = shlex.split(command)
        assert name == "shan-engine"
        assert_alike(output_of(*arguments, COLUMNS="100"), output)


def test_the_notebook_holds_what_its_cells_print():
    notebook = json.loads((ROOT / "docs" / "python.ipynb").read_text("utf-8"))
    count = 0
    for cell, text in executed(notebook):
        assert_alike(text, written(cell))
        count += 1
    assert count >= 10
