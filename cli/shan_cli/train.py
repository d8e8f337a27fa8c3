"""`shan-engine train`."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from shan_cli.console import Captions, Device, DeviceOption, messages, need, progress


class Loss(StrEnum):
    """Ranking losses."""

    CONTRASTIVE = "contrastive"
    TRIPLET = "triplet"


class Direction(StrEnum):
    """Which side attends to which (docs/scoring.md)."""

    FULL = "full"
    I2T = "i2t"
    T2I = "t2i"


class TrainPrecision(StrEnum):
    """What the encoders compute in while training."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class Pooling(StrEnum):
    """How SCAN makes one score of its cosines."""

    LSE = "lse"
    MEAN = "mean"


def _setting(text: str) -> tuple[str, object]:
    """Name and value of `NAME=VALUE`: a number or truth where it can be read as one."""
    from shan_engine.base.errors import InputError

    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise InputError(f"--set '{text}' is no setting: write NAME=VALUE")
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            pass
    return name, {"true": True, "false": False}.get(value, value)


def train(
    store: Annotated[Path, typer.Option(help="Feature store with the images of the captions.")],
    captions: Captions,
    word_vectors: Annotated[Path, typer.Option(help="Word vectors in GloVe's text format, plain or .gz.")],
    output: Annotated[
        Path, typer.Option(help="Checkpoint folder: the best epoch by dev rSum, and the state to resume.")
    ],
    view: Annotated[
        list[Path] | None,
        typer.Option(
            help="Store with other features of the same photos, as `extract --mirror` or `--crop` makes, or of some of "
            "them or of others in the captions; at each step an image is taken by chance from one of the stores that "
            "have it. Repeatable.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(help="shan, or on the same features scan, vse, tern or one of your own (docs/models.md).")
    ] = "shan",
    direction: Annotated[
        Direction | None,
        typer.Option(help="shan: full (default) or one direction alone; scan: t2i (default), i2t.", show_default=False),
    ] = None,
    steps: Annotated[
        str | None, typer.Option(help="shan: l2l, l2l+g2l or l2l+g2l+g2g (default).", show_default=False)
    ] = None,
    pooling: Annotated[Pooling | None, typer.Option(help="scan: lse (default) or mean.", show_default=False)] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            min=0.01, help="shan, scan: of the attention, 9 by default; SCAN has 4 for i2t.", show_default=False
        ),
    ] = None,
    pooling_temperature: Annotated[
        float | None,
        typer.Option(
            min=0.01, help="scan with lse: 6 by default; SCAN has 5 for i2t on Flickr30K.", show_default=False
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A setting that has no option, NAME=VALUE (number, true, false or text): the model's own or, of "
            "training, one of region_dropout, feature_dropout, embedding_dropout, word_dropout, row_dropout, average, "
            "margin, loss_temperature, warmup_steps, gradient_clip, min_count, embedding_dim, open_vocabulary "
            "(docs/models.md). Repeatable.",
            show_default=False,
        ),
    ] = None,
    loss: Annotated[
        Loss,
        typer.Option(
            help="contrastive (InfoNCE), or triplet (hinges): every negative in its first epochs, then the hardest "
            "alone. Either is there twice for a model of several steps: on step 1 over the whole batch, and on the "
            "full score over --candidates pairs.",
        ),
    ] = Loss.CONTRASTIVE,
    candidates: Annotated[
        int,
        typer.Option(
            min=0,
            help="Negatives of an image and of a caption that the full score sees, chosen by step 1. 0: all of the "
            "batch by the full score alone, as the SHAN paper's triplet loss has it; at many times the cost, but for "
            "epochs of a triplet loss after --warmup-epochs.",
        ),
    ] = 2,
    warmup_epochs: Annotated[
        int,
        typer.Option(
            min=0,
            help="Of a triplet loss: in which every negative counts, before the hardest alone, with which a fresh "
            "model may stay where all its scores are alike.",
        ),
    ] = 6,
    epochs: Annotated[int, typer.Option(min=1, help="At most.")] = 12,
    patience: Annotated[int, typer.Option(min=1, help="End after so many epochs that are no better on dev.")] = 3,
    batch_size: Annotated[int, typer.Option(min=2, help="Images per step, each with one caption.")] = 128,
    learning_rate: Annotated[float, typer.Option(min=1e-7)] = 8e-4,
    dev_images: Annotated[int, typer.Option(min=1, help="Images of split dev that choose the best epoch.")] = 200,
    embed_dim: Annotated[int, typer.Option(min=8, help="Embedding size D.")] = 256,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1)] = 0,
    resume: Annotated[
        bool, typer.Option("--resume/--restart", help="Go on from the output's last state if it has one.")
    ] = True,
    precision: Annotated[
        TrainPrecision,
        typer.Option(
            help="Of the encoders; scores and loss are float32. auto: bfloat16 on a GPU and on a CPU that has "
            "instructions for it, else float32."
        ),
    ] = TrainPrecision.AUTO,
    device: Device = DeviceOption.AUTO,
) -> None:
    """Train on captioned images, on CPU or one GPU; prints the dev recall, both ways, after each epoch.

    Examples:

      shan-engine train --store S --captions captions.tsv --word-vectors glove.txt.gz --output checkpoint

      shan-engine train --store S --view MIRRORED --captions captions.tsv --word-vectors glove.txt.gz \\
        --output scan --model scan --direction t2i --pooling mean
    """
    need("train", "torch", "safetensors")
    from shan_engine.base.errors import InputError
    from shan_engine.store.feature_store import FeatureStore
    from shan_engine.text.captions import CaptionTable
    from shan_model.schedule import TrainConfig
    from shan_model.training import TrainProgress
    from shan_model.training import train as run

    of_model: dict[str, Any] = {
        "direction": direction and direction.value,
        "steps": steps and tuple(steps.split("+")),
        "pooling": pooling and pooling.value,
        "temperature": temperature,
        "pooling_temperature": pooling_temperature,
    }
    of_training: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "patience": patience,
        "loss": loss.value,
        "candidates": candidates,
        "warmup_epochs": warmup_epochs,
        "dev_images": dev_images,
        "embed_dim": embed_dim,
        "model": model,
        "seed": seed,
        "precision": precision.value,
        "device": device.value,
    }
    further = {field.name for field in fields(TrainConfig)} - {*of_training, "options"}
    with_option = set(of_training)
    for text in settings or ():
        name, value = _setting(text)
        if name in with_option:
            raise InputError(f"{name} has an option of its own: write --{name.replace('_', '-')} {value}")
        chosen = of_training if name in further else of_model
        if chosen.get(name) is not None:
            raise InputError(f"{name} is given twice: leave out --set '{text}' or the other")
        chosen[name] = value
    options = {name: value for name, value in of_model.items() if value is not None}
    config = TrainConfig(options=options, **of_training)
    stores = [path.resolve() for path in (store, *(view or []))]
    if twice := [path for path in stores if stores.count(path) > 1]:
        raise InputError(f"the store {twice[0]} is given twice: leave one --view out")
    with ExitStack() as stack:
        source, *views = [stack.enter_context(FeatureStore.open(path)) for path in (store, *(view or []))]
        on_start, on_step = stack.enter_context(progress("training", "steps"))
        on_start(0)

        def show(state: TrainProgress) -> None:
            on_start(state.total_steps)
            on_step(state.done_steps, f"loss {state.loss:.3f}, {state.pairs_per_second:,.0f} pairs/s")
            if state.message:
                messages.print(state.message, markup=False, soft_wrap=True)

        table = CaptionTable.read(captions)
        images = table.split("train").images
        for path, held in zip(view or [], views, strict=True):
            count = sum(image in held for image in images)
            messages.print(f"{path}: {count:,} of {len(images):,} training images", markup=False, soft_wrap=True)
        best = run(source, table, word_vectors, output, config, views=views, resume=resume, on_progress=show)
    messages.print(f"{output}: the checkpoint with the best dev rSum, {best:.1f}", markup=False, soft_wrap=True)
