"""What the pages for users say and show is what commands and notebook do; tests/renew_docs.py writes it anew."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import cli_page
import man_page
import pytest
import typer.main
from notebook import assert_alike, executed, output_of
from renew_docs import ROOT, SHOWING, consoles, run
from shan_cli.main import app

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
ENDS = set("&|;<>()")
MEASURED = json.loads((ROOT / "benchmarks/results/flickr8k.json").read_text("utf-8"))


def test_commands_print_what_the_pages_show(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    shown = [example for page in SHOWING for example in consoles(page)]
    assert len(shown) >= 7
    for command, output in shown:
        assert_alike(run(command, Path(tmp_path)), output)


def test_the_page_of_commands_holds_what_help_prints():
    assert cli_page.PAGE.read_text("utf-8") == cli_page.page(), "run `python tests/renew_docs.py`"


def test_the_man_page_holds_what_help_says():
    assert man_page.PAGE.read_text("utf-8") == man_page.page(), "run `python tests/renew_docs.py`"


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
def test_the_man_page_is_read_as_it_was_meant():
    command = ["groff", "-man", "-Tutf8", "-Kutf8", "-ww", "-rLL=300n", man_page.PAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "GROFF_NO_SGR": "1"})
    assert done.stderr == ""
    text = re.sub(".\b", "", done.stdout)
    assert '    shan-engine search "a dog" --print0 | xargs -0 cp -t dogs\n' in text
    assert "-k, --top-k <int range>\n" in text
    assert "columns of your own table, id and path.\n" in text


def test_the_notebook_holds_what_its_cells_print():
    notebook = json.loads((ROOT / "docs" / "python.ipynb").read_text("utf-8"))
    count = 0
    for cell, text in executed(notebook):
        assert_alike(text, output_of(cell))
        count += 1
    assert count >= 10


def calls(page):
    """The words of every `shan-engine` command with arguments that the page gives, in blocks or within a sentence."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    shell = "\n".join(re.findall(r"^```(?:sh|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    lines = [line.split(" #")[0] for line in shell.splitlines() if "shan-engine " in line]
    sentences = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    within = re.findall(r"(?<!`)`(shan-engine [^`]+)`", sentences)
    for line in lines + [" ".join(code.split()) for code in within]:
        lexer = shlex.shlex(line, posix=True, punctuation_chars="".join(ENDS))
        lexer.whitespace_split = True
        words = None
        for word in lexer:
            if word.rpartition("/")[2] == "shan-engine":
                words = []
            elif words is not None and set(word) <= ENDS:
                yield words
                words = None
            elif words is not None:
                words.append(word)
        if words:
            yield words


@pytest.fixture(scope="module")
def commands():
    """All commands; to make them takes a tenth of a second."""
    return typer.main.get_command(app)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_of_the_pages_exist(commands, page):
    for words in calls(page):
        command, rest = commands, list(words)
        while rest and rest[0] in getattr(command, "commands", {}):
            command = command.commands[rest.pop(0)]
        known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}
        options = {word.split("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
        assert options <= known, f"shan-engine {' '.join(words)}: no {options - known}"
        assert options or not hasattr(command, "commands"), f"shan-engine {' '.join(words)}: no such command"


def test_calls_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("`shan-engine doctor` and\n```sh\n.venv/bin/shan-engine a \\\n --b 'c d' && x  # y\n```\n", "utf-8")
    assert list(calls(page)) == [["a", "--b", "c d"], ["doctor"]]
    assert sum(len(list(calls(page))) for page in PAGES) > 50


@pytest.mark.parametrize("name", MEASURED)
def test_the_tables_of_results_and_experiments_hold_what_was_measured(name):
    row = MEASURED[name]
    recalls = ["/".join(f"{row[f'{way}_retrieval_r{k}']:.1f}" for k in (1, 5, 10)) for way in ("text", "image")]
    low, high = row["intervals_95"]["rsum"]
    figures = f"| {' | '.join(recalls)} | {row['rsum']:.1f} ({low:.1f} to {high:.1f}) |"
    lines = [
        line
        for page in ("results", "experiments")
        for line in (ROOT / f"docs/{page}.md").read_text("utf-8").splitlines()
    ]
    own = [line for line in lines if line.startswith(f"| `{name.removesuffix('+querybank')}` |")]
    assert any(line.endswith(figures) for line in own), figures
