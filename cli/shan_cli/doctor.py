"""`shan-engine doctor`."""

from __future__ import annotations

import typer

from shan_cli.console import print_json
from shan_cli.options import Json, Verbose

_MARKS = {"ok": "[green]ok[/]     ", "warning": "[yellow]warning[/]", "error": "[red]error[/]  "}


def doctor(json: Json = False, verbose: Verbose = False) -> None:
    """Check this installation, and tell you how to fix each fault.

    Example: shan-engine doctor

    It checks versions, whether devices load, packages that conflict, and the demo. Exits 1 if it finds an error.
    """
    from rich.console import Console
    from rich.markup import escape
    from shan_engine.doctor import examine
    from shan_engine.locate import demo_folder

    findings = examine(demo_folder())
    if json:
        print_json([vars(finding) for finding in findings])
    else:
        answers = Console(highlight=False, emoji=False)
        for finding in findings:
            answers.print(f"{_MARKS[finding.status]} {escape(finding.name)}: {escape(finding.detail)}", soft_wrap=True)
            if finding.fix:
                answers.print(f"         fix: {escape(finding.fix)}", soft_wrap=True)
    if any(finding.status == "error" for finding in findings):
        raise typer.Exit(1)
