"""Run a notebook's code cells in order, without Jupyter.

`python tests/notebook.py docs/python.ipynb` writes its outputs anew. A cell tagged `needs-NAME` is left as it is where
the package NAME is not installed.
"""

from __future__ import annotations

import ast
import importlib.util
import io
import json
import re
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

_NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")


def executed(notebook: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Each code cell that can run here, with what it prints and, last, the value of its last expression."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in notebook["cells"]:
        tags = cell["metadata"].get("tags", [])
        needed = [tag.removeprefix("needs-") for tag in tags if tag.startswith("needs-")]
        if cell["cell_type"] != "code" or any(importlib.util.find_spec(name) is None for name in needed):
            continue
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(compile(tree, "<cell>", "exec"), names)
            value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), names) if last else None
        yield cell, printed.getvalue() + ("" if value is None else repr(value))


def output_of(cell: dict[str, Any]) -> str:
    """The text that a cell's outputs hold."""
    return "".join("".join(output.get("text") or output["data"]["text/plain"]) for output in cell["outputs"])


def assert_alike(found: str, wanted: str) -> None:
    """The same text, with numbers as near as another processor's rounding leaves them."""
    assert _NUMBER.sub("#", found) == _NUMBER.sub("#", wanted)
    for one, other in zip(_NUMBER.findall(found), _NUMBER.findall(wanted), strict=True):
        assert abs(float(one) - float(other)) < 2e-3, (one, other)


def main(path: Path) -> None:
    """Write the outputs of a run into the notebook."""
    notebook = json.loads(path.read_text("utf-8"))
    for number, (cell, text) in enumerate(executed(notebook), 1):
        cell["execution_count"] = number
        output = {"data": {"text/plain": text.splitlines(keepends=True)}, "execution_count": number, "metadata": {}}
        cell["outputs"] = [{"output_type": "execute_result", **output}] if text else []
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
