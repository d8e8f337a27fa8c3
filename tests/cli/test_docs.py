"""What the pages for users show is what the commands and the notebook print; tests/renew_docs.py writes it anew."""

from __future__ import annotations

import json
from pathlib import Path

from notebook import assert_alike, executed, output_of
from renew_docs import ROOT, consoles, run


def test_commands_print_what_the_page_shows(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    shown = consoles(ROOT / "docs" / "searching.md")
    assert len(shown) >= 6
    for command, output in shown:
        assert_alike(run(command, Path(tmp_path)), output)


def test_the_notebook_holds_what_its_cells_print():
    notebook = json.loads((ROOT / "docs" / "python.ipynb").read_text("utf-8"))
    count = 0
    for cell, text in executed(notebook):
        assert_alike(text, output_of(cell))
        count += 1
    assert count >= 10
