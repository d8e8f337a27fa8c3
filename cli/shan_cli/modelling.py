"""Commands that need PyTorch: train, export."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .console import Device, DeviceOption, messages, progress


class Direction(StrEnum):
    """Which side attends to which (SHAN.md)."""

    FULL = "full"
    I2T = "i2t"
    T2I = "t2i"


def _need(*modules: str) -> None:
    from importlib.util import find_spec

    from shan_engine.errors import BackendError

    for module in modules:
        if find_spec(module) is None:
            raise BackendError(f"{module} is not installed: pip install 'shan-engine[export]'")


def train(
    store: Annotated[Path, typer.Option(help="Feature store with the images of the captions.")],
    captions: Annotated[Path, typer.Option(help="Tab-separated file with the columns split, image, caption.")],
    word_vectors: Annotated[Path, typer.Option(help="Word vectors in GloVe's text format, plain or .gz.")],
    output: Annotated[
        Path, typer.Option(help="Checkpoint folder: the best epoch by dev rSum, and the state to resume.")
    ],
    epochs: Annotated[int, typer.Option(min=1)] = 5,
    batch_size: Annotated[int, typer.Option(min=2, help="Images per step, each with one caption.")] = 128,
    learning_rate: Annotated[float, typer.Option(min=1e-7)] = 8e-4,
    warmup_epochs: Annotated[
        int,
        typer.Option(
            min=0,
            help="Epochs in which every negative counts; after them the hardest alone, which five epochs never reach. "
            "On Flickr8k the hardest alone sat where own and negative scores are equal (measured: the loss is the "
            "number of hinges x 2 x margin); for larger sets.",
        ),
    ] = 5,
    dev_images: Annotated[int, typer.Option(min=1, help="Images of split dev that choose the best epoch.")] = 200,
    embed_dim: Annotated[int, typer.Option(min=8, help="Embedding size D.")] = 256,
    direction: Annotated[Direction, typer.Option(help="full, or one direction of attention alone.")] = Direction.FULL,
    seed: Annotated[int, typer.Option()] = 0,
    resume: Annotated[
        bool, typer.Option("--resume/--restart", help="Go on from the output's last state if it has one.")
    ] = True,
    device: Device = DeviceOption.AUTO,
) -> None:
    """Train SHAN on captioned images, on CPU or one GPU; prints the dev recall, both ways, after each epoch.

    Example: shan-engine train --store S --captions captions.tsv --word-vectors glove.txt.gz --output checkpoint
    """
    _need("torch", "safetensors")
    from shan_engine.captions import CaptionTable
    from shan_engine.store import FeatureStore
    from shan_model.schedule import TrainConfig
    from shan_model.training import TrainProgress
    from shan_model.training import train as run

    config = TrainConfig(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        warmup_epochs=warmup_epochs,
        dev_images=dev_images,
        embed_dim=embed_dim,
        direction=direction.value,
        seed=seed,
        device=device.value,
    )
    with FeatureStore.open(store) as source, progress("training", "steps") as (on_start, on_step):
        on_start(0)

        def show(state: TrainProgress) -> None:
            on_start(state.total_steps)
            on_step(state.done_steps, f"loss {state.loss:.3f}, {state.pairs_per_second:,.0f} pairs/s")
            if state.message:
                messages.print(state.message, markup=False, soft_wrap=True)

        table = CaptionTable.read(captions)
        best = run(source, table, word_vectors, output, config, resume=resume, on_progress=show)
    messages.print(f"{output}: the checkpoint with the best dev rSum, {best:.1f}", markup=False, soft_wrap=True)


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Folder with config.json, vocab.json and model.safetensors.")],
    output: Annotated[Path, typer.Option(help="Bundle to write.")],
    feature_extractor: Annotated[
        Path | None,
        typer.Option(help="ONNX extractor the model was trained on, copied into the bundle.", show_default=False),
    ] = None,
    feature_extractor_name: Annotated[
        str | None,
        typer.Option(help="Name of an extractor that stays outside the bundle.", show_default=False),
    ] = None,
    max_words: Annotated[int, typer.Option(min=3, help="Longest caption, start and end markers included.")] = 128,
    overwrite: Annotated[bool, typer.Option(help="Replace a bundle that is there.")] = False,
) -> None:
    """Export a checkpoint to ONNX graphs, and prove them equal to PyTorch within 1e-4.

    Example: shan-engine export checkpoint --output bundle --feature-extractor feature_extractor.onnx
    """
    _need("torch", "safetensors", "onnx", "onnxscript")
    from shan_export.bundle_writer import export_bundle

    manifest = export_bundle(
        checkpoint,
        output,
        feature_extractor=feature_extractor,
        feature_extractor_name=feature_extractor_name,
        max_words=max_words,
        overwrite=overwrite,
        on_stage=lambda stage: messages.print(f"{stage} …", markup=False),
    )
    messages.print(
        f"{output}: largest difference from PyTorch {manifest.parity:.1e}, fingerprint {manifest.fingerprint[:12]}",
        markup=False,
        soft_wrap=True,
    )
