"""What the pages name exists: files, modules, sections, scripts and their options, targets of make."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import re
from pathlib import Path

import api_page
import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks/gpu_check/METHOD.md"])
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"build", "dist", "runs"}  # made, not kept
PACKAGES = {path.name for path in ROOT.glob("*/shan_*") if path.is_dir()}
UNREACHABLE = ("SHAN.md", "earlier demo", "earlier model", "old measurement", "not in the tree", "timed by hand")


def pages(test):
    return pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)(test)


def without_blocks(text):
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def in_backticks(text):
    return re.findall(r"(?<!`)`([^`\n]+)`", without_blocks(text))


def slug(heading):
    """The name that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").strip().lower()).replace(" ", "-")


def commands(text):
    """Every command line of a page: in blocks of shell, and in backticks."""
    shell = "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
    lines = [line.split(" #")[0].strip() for line in shell.splitlines()]
    return lines + [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`", without_blocks(text))]


@pages
def test_files_named_in_backticks_exist(page):
    for name in in_backticks(page.read_text("utf-8")):
        if re.fullmatch(r"[\w./-]+", name) and name.split("/")[0] in FOLDERS and "/" in name:
            assert (ROOT / name).exists(), name


def test_modules_of_the_glossary_exist():
    rows = [line for line in (ROOT / "docs/glossary.md").read_text("utf-8").splitlines() if line.startswith("| ")]
    named = [name for row in rows for name in in_backticks(row.rstrip(" |").rpartition(" | ")[2])]
    assert len(named) > 40
    for name in named:
        assert (ROOT / name).exists() or (ROOT / "engine/shan_engine" / name).exists(), name


@pages
def test_modules_and_names_in_backticks_exist(page):
    for name in in_backticks(page.read_text("utf-8")):
        if re.fullmatch(r"shan_\w+(\.\w+)+", name) and name.split(".")[0] in PACKAGES:
            parent, _, last = name.rpartition(".")
            module = importlib.import_module(parent)
            assert hasattr(module, last) or importlib.util.find_spec(name), name


@pages
def test_imports_name_the_module_that_defines(page):
    text = page.read_text("utf-8")
    for module, names in re.findall(r"^from (shan_\w+\.[\w.]+) import ([\w, ]+)$", text, re.MULTILINE):
        for name in names.split(", "):
            defined = getattr(importlib.import_module(module), name).__module__
            assert f"{defined}.".startswith(f"{module}."), f"{name} is defined in {defined}"


@pages
def test_links_lead_to_files_and_sections(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        file, _, section = target.partition("#")
        if ":" in file:
            continue
        path = (page.parent / file) if file else page
        assert path.exists(), target
        if section:
            headings = re.findall(r"^#+ (.*)$", without_blocks(path.read_text("utf-8")), re.MULTILINE)
            assert section in map(slug, headings), target


@pages
def test_scripts_and_their_options_exist(page):
    for line in commands(page.read_text("utf-8")):
        for python in re.findall(r"(?:^|[\s;])python3? (-m shan_[\w.]+|[\w/]+\.py)(.*)", line):
            script, arguments = python
            if script.startswith("-m "):
                spec = importlib.util.find_spec(script.removeprefix("-m "))
                assert spec is not None, line
                assert spec.origin is not None, line
                source = Path(spec.origin).read_text("utf-8")
            else:
                assert (ROOT / script).exists(), line
                source = (ROOT / script).read_text("utf-8")
            for option in re.findall(r"(?<=\s)--[a-z][\w-]*", arguments):
                assert f'"{option}"' in source, f"{line}: no {option}"


@pages
def test_targets_of_make_exist(page):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for line in commands(page.read_text("utf-8")):
        if named := re.match(r"make ([\w-]+)$", line):
            assert named[1] in targets, line


@pages
def test_pages_cite_only_what_a_reader_can_open(page):
    text = " ".join(page.read_text("utf-8").split())
    assert not [words for words in UNREACHABLE if words in text]


def test_the_page_of_the_python_interface_holds_the_docstrings():
    assert api_page.PAGE.read_text("utf-8") == api_page.page(), "run python tests/renew_docs.py"


def test_examples_of_the_python_interface_print_what_it_shows():
    """Those of docstrings are on the page, too."""
    text = api_page.PAGE.read_text("utf-8").replace("```", "")
    example = doctest.DocTestParser().get_doctest(text, {}, "docs/api.md", None, None)
    assert len(example.examples) >= 6
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(example)
    assert not result.failed
