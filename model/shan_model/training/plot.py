"""A training run's loss and recall by epoch, drawn beside its metrics."""

from __future__ import annotations

import json
from pathlib import Path

from shan_engine.base.files import replacing

from shan_model.training.state import METRICS, PICTURE


def plot_metrics(output: Path) -> None:
    """Plot `metrics.jsonl` of a run's output as `metrics.svg`. Does nothing if Matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    lines = [json.loads(line) for line in (output / METRICS).read_text("utf-8").splitlines()]
    epochs = [line["epoch"] for line in lines]
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    loss, recall = figure.subplots(1, 2)
    loss.plot(epochs, [line["loss"] for line in lines], "o-")
    loss.set(title="training loss", xlabel="epoch", ylim=(0, None))
    for name, label, style in (("text_retrieval", "image to text", "o-"), ("image_retrieval", "text to image", "s--")):
        for cut in (1, 5, 10):
            recall.plot(epochs, [line[f"{name}_r{cut}"] for line in lines], style, label=f"{label} R@{cut}")
    recall.set(title="dev recall, %", xlabel="epoch", ylim=(0, 100))
    recall.legend(fontsize="x-small")
    for axes in (loss, recall):
        axes.xaxis.get_major_locator().set_params(integer=True)
    with replacing(output / PICTURE) as path:
        figure.savefig(path, format="svg")
