"""The report of `search --html` and `search --open`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from shan_cli.console import say

if TYPE_CHECKING:
    from shan_engine.search.results import QueryHits


def temporary_report() -> Path:
    """Where a report goes that has no place of its own."""
    from tempfile import mkdtemp

    return Path(mkdtemp(prefix="shan-engine-")) / "report.html"


def write_report(html: Path, results: Sequence[QueryHits], shown: bool, with_text: bool) -> None:
    """Write a report, say where, and perhaps open it in a browser."""
    from shan_engine.writers import html_report

    html_report.write_report(html, results, with_text=with_text)
    say(f"report: {html}")
    if shown:
        import webbrowser

        webbrowser.open(html.absolute().as_uri())
