"""Write anew what the pages for users show, after a change of the demo or of what is printed.

    python tests/renew_docs.py

A cell of the notebook whose package is not installed keeps its old output: put pandas and polars on PYTHONPATH.
"""

from __future__ import annotations

import os
import shlex
import tempfile
from pathlib import Path

import api_page
import cli_page
import man_page
import notebook
import own_home  # noqa: F401 before a command is run
from installed import output_of

ROOT = Path(__file__).parents[1]
CONSOLE = "```console\n"
SHOWING = (ROOT / "README.md", ROOT / "docs" / "searching.md")
"""Pages that show what commands print."""


def consoles(page: Path) -> list[tuple[str, str]]:
    """Each command of a page's `console` blocks, and the output that follows it."""
    found = []
    for block in page.read_text("utf-8").split(CONSOLE)[1:]:
        for shown in block.split("```")[0].split("$ ")[1:]:
            command, _, output = shown.partition("\n")
            found.append((command, output))
    return found


def run(command: str, folder: Path) -> str:
    """What a command of a page prints in a folder with the demo's photos and three captions."""
    if not (folder / "photos").exists():
        (folder / "photos").symlink_to(ROOT / "artifacts" / "demo" / "photos")
        (folder / "captions.txt").write_text("a dog runs over grass\na man climbs a rock\na red car\n")
    name, *arguments = shlex.split(command)
    assert name == "shan-engine", command
    os.chdir(folder)
    return output_of(*arguments, COLUMNS="100")


def main() -> None:
    for page in SHOWING:
        text = page.read_text("utf-8")
        with tempfile.TemporaryDirectory() as folder:
            for command, output in consoles(page):
                text = text.replace(f"$ {command}\n{output}", f"$ {command}\n{run(command, Path(folder))}")
            os.chdir(ROOT)
        page.write_text(text, "utf-8")
    api_page.main()
    cli_page.main()
    man_page.main()
    notebook.main(ROOT / "docs" / "python.ipynb")


if __name__ == "__main__":
    main()
