"""The `shan-engine` command within this process, without its 2 seconds of imports; `installed` starts real ones."""

from __future__ import annotations

import logging
import os
import subprocess

from installed import expect_output, expect_refusal
from typer.testing import CliRunner


def shan(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `shan-engine` with these arguments: exit status and output, as `installed.shan` gives them."""
    from shan_cli.main import app

    ours = {name: None for name in os.environ if name.startswith("SHAN_")}
    logger = logging.getLogger("shan_engine")
    handlers, level = logger.handlers[:], logger.level
    try:
        done = CliRunner().invoke(app, [*map(str, arguments)], env={**ours, "COLUMNS": "200", **variables})
    finally:
        logger.handlers[:] = handlers
        logger.setLevel(level)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception  # a process would print a traceback
    return subprocess.CompletedProcess([*arguments], done.exit_code, done.stdout, done.stderr)


def output_of(*arguments: object, **variables: str) -> str:
    """Standard output of a command that must succeed."""
    return expect_output(shan(*arguments, **variables))


def refusal(*arguments: object, **variables: str) -> str:
    """The one sentence of a command that must refuse: exit 1, nothing on standard output."""
    return expect_refusal(shan(*arguments, **variables))
