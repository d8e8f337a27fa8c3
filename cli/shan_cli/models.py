"""`shan-engine models`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shan_cli.console import answers, print_json
from shan_cli.options import Json, Verbose

if TYPE_CHECKING:
    from rich.table import Table

PAGE = "docs/results.md"


def models(json: Json = False, verbose: Verbose = False) -> None:
    """List the models to train or import, and what was measured of them side by side.

    Example: shan-engine models

    `train --model` takes a name of the first table. Rows of the second have the same photos and the same training.
    """
    from shan_engine.base.optional import require

    require("train", "torch", "safetensors")
    from shan_model.listing import listed_models, measured_models

    listed, measured = [vars(model) for model in listed_models()], measured_models()
    if json:
        print_json({"models": listed, "measured": measured})
        return
    console = answers()
    console.print(_choice(listed))
    if measured:
        console.print(_rows(measured))
        console.print(f"{measured['protocol']} More: {PAGE}", highlight=False, soft_wrap=True)


def _choice(listed: list[dict[str, Any]]) -> Table:
    """The models: what each is, and what can be done with it."""
    table = _table("model", "score", "train", "export", "a gallery holds", "explains words")
    for model in listed:
        said = ["yes" if model[name] else "no" for name in ("trained", "exported", "explained")]
        table.add_row(model["name"], model["summary"], said[0], said[1], model["held"], said[2])
    return table


def _rows(measured: dict[str, Any]) -> Table:
    """The measured rows."""
    table = _table("row", "model", "text R@1/5/10", "image R@1/5/10", "rSum", "bytes a photo", "ms a query", "pairs/s")
    for name, row in measured["rows"].items():
        recall = row.get("recall")
        sides = (
            ["/".join(f"{recall[f'{side}_retrieval_r{k}']:.1f}" for k in (1, 5, 10)) for side in ("text", "image")]
            if recall
            else ["", ""]
        )
        rsum = "{:.1f} ({:.1f} to {:.1f})".format(recall["rsum"], *recall["intervals_95"]["rsum"]) if recall else ""
        figures = [f"{row[key]:,}" if key in row else "" for key in ("bytes_a_photo", "ms_a_query", "pairs_per_second")]
        table.add_row(name, row["settings"], *sides, rsum, *figures)
    return table


def _table(*columns: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    for column in columns:
        table.add_column(
            column, overflow="fold", justify="right" if column in ("bytes a photo", "ms a query", "pairs/s") else "left"
        )
    return table
