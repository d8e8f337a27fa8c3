"""`shan-engine train`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from shan_model.choices import Direction, Loss, Pooling, TrainPrecision

from shan_cli.console import OnDone, progress, say
from shan_cli.options import Device, Verbose
from shan_cli.train_settings import CLIP_SHAN, layers, text_source, train_config

if TYPE_CHECKING:
    from collections.abc import Callable

    from shan_engine.text.captions import CaptionTable
    from shan_model.clip.pretrained import PretrainedText
    from shan_model.training.loop import TrainProgress
    from shan_model.training.schedule import TrainConfig


def train(
    store: Annotated[Path, typer.Option(help="Feature store with the images of the captions.")],
    captions: Annotated[
        list[Path],
        typer.Option(
            help="Tab-separated file with the columns split, image, caption; or a folder of SCAN's *_caps.txt. "
            "Repeatable: further files add captions to the images of the first, as in other languages."
        ),
    ],
    output: Annotated[
        Path, typer.Option(help="Checkpoint folder: the best epoch by dev rSum, and the state to resume from.")
    ],
    word_vectors: Annotated[
        Path | None, typer.Option(help="Word vectors in GloVe's text format, plain or .gz.", show_default=False)
    ] = None,
    sentence_model: Annotated[
        Path | None,
        typer.Option(
            help="sentence-shan: folder that `python -m shan_export.pack_sentence_model` makes.", show_default=False
        ),
    ] = None,
    text_encoder: Annotated[
        Path | None,
        typer.Option(
            help="In place of word vectors: folder of a BERT, MiniLM, DistilBERT, E5 or RoBERTa as Hugging Face stores "
            "it. Its pieces are pooled to words.",
            show_default=False,
        ),
    ] = None,
    from_: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="In place of word vectors: folder of a CLIP or SigLIP model, whose bundle extracted the store. "
            "Trains clip-shan, SHAN over its frozen tokens with light adapters; --embed-dim is the model's own.",
            show_default=False,
        ),
    ] = None,
    tuned_layers: Annotated[
        str,
        typer.Option(
            help="Layers of the --text-encoder that training changes: the last ones, by number, or `all` with its "
            "embeddings. 0 leaves it as it is."
        ),
    ] = "0",
    text_learning_rate: Annotated[
        float, typer.Option(min=1e-9, help="Learning rate of those layers after warm-up.")
    ] = 5e-5,
    language: Annotated[
        list[str] | None,
        typer.Option(
            help="Of the further --captions, use only those in this language, as their column language names it. "
            "Repeatable.",
            show_default=False,
        ),
    ] = None,
    view: Annotated[
        list[Path] | None,
        typer.Option(
            help="Store with other features of the photos, such as `extract --mirror` or `--crop` makes; it may lack "
            "some of them or hold others of the captions. At each step an image comes from a random store that has it. "
            "Repeatable.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="shan, sentence-shan, or on the same features scan, vse, tern or one of your own (docs/models.md)."
        ),
    ] = "shan",
    direction: Annotated[
        Direction | None,
        typer.Option(
            help="Which side attends to which. shan: full, i2t or t2i; scan: t2i or i2t.",
            show_default="shan: full; scan: t2i",
        ),
    ] = None,
    steps: Annotated[
        str | None, typer.Option(help="shan: l2l, l2l+g2l or l2l+g2l+g2g.", show_default="l2l+g2l+g2g")
    ] = None,
    pooling: Annotated[Pooling | None, typer.Option(help="scan: how cosines are pooled.", show_default="lse")] = None,
    temperature: Annotated[
        float | None,
        typer.Option(min=0.01, help="shan, scan: temperature of the attention. SCAN has 4 for i2t.", show_default="9"),
    ] = None,
    pooling_temperature: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            help="scan with lse: temperature of the pooling. SCAN has 5 for i2t on Flickr30K.",
            show_default="6",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A setting that has no option, as NAME=VALUE (number, true, false or text). It is the model's own or "
            "one of training: region_dropout, feature_dropout, embedding_dropout, word_dropout, row_dropout, average, "
            "margin, loss_temperature, warmup_steps, gradient_clip, min_count, embedding_dim, phrases, open_vocabulary "
            "(docs/models.md). Repeatable.",
            show_default=False,
        ),
    ] = None,
    loss: Annotated[
        Loss,
        typer.Option(
            help="contrastive is InfoNCE; triplet is hinges, on every negative in its first epochs, then on the "
            "hardest alone. A model of several steps has the loss twice: on step 1 over the whole batch, and on the "
            "full score over --candidates pairs.",
        ),
    ] = "contrastive",
    candidates: Annotated[
        int,
        typer.Option(
            min=0,
            help="Negatives of each image and caption that the full score sees, chosen by step 1. 0: all of the batch "
            "by the full score alone, as in the SHAN paper's triplet loss. That costs many times more, except in "
            "epochs of a triplet loss after --warmup-epochs.",
        ),
    ] = 2,
    warmup_epochs: Annotated[
        int,
        typer.Option(
            min=0,
            help="Epochs of a triplet loss in which every negative counts. With the hardest alone from the start, a "
            "fresh model may never leave the state where all its scores are alike.",
        ),
    ] = 6,
    epochs: Annotated[int, typer.Option(min=1, help="Most epochs.")] = 12,
    patience: Annotated[int, typer.Option(min=1, help="Stop after so many epochs without a better dev rSum.")] = 3,
    batch_size: Annotated[int, typer.Option(min=2, help="Images per step, each with one caption.")] = 128,
    learning_rate: Annotated[float, typer.Option(min=1e-7, help="Learning rate after warm-up.")] = 8e-4,
    dev_images: Annotated[int, typer.Option(min=1, help="Images of split dev that choose the best epoch.")] = 200,
    embed_dim: Annotated[int, typer.Option(min=8, help="Embedding size D.")] = 256,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of everything random.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume/--restart", help="Go on from the output's last state, if it has one.")
    ] = True,
    precision: Annotated[
        TrainPrecision,
        typer.Option(
            help="Precision of the encoders; scores and loss are float32. auto is bfloat16 on a GPU and on a CPU that "
            "has instructions for it, else float32."
        ),
    ] = "auto",
    device: Device = "auto",
    verbose: Verbose = False,
) -> None:
    """Train a model on captioned images, on the CPU or one GPU. Prints the dev recall both ways after each epoch.

    Examples:

      shan-engine train --store S --captions captions.tsv --word-vectors glove.txt.gz --output checkpoint

      shan-engine train --store S --captions captions.tsv --captions multi30k.tsv --language de \\
        --model sentence-shan --sentence-model sentence-model --output checkpoint

      shan-engine train --store S --captions captions.tsv --text-encoder all-MiniLM-L6-v2 --tuned-layers 2 \\
        --output checkpoint

      shan-engine train --store S --captions captions.tsv --from clip-vit-base-patch32 --output checkpoint

      shan-engine train --store S --view MIRRORED --captions captions.tsv --word-vectors glove.txt.gz \\
        --output scan --model scan --direction t2i --pooling mean
    """
    from shan_engine.base.optional import require

    require("train", "torch", "safetensors")
    # OpenMP reads this once. Threads that spin take the core from those that compute (benchmarks/busy_machine.py).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    of_model = {
        "direction": direction,
        "steps": steps and tuple(steps.split("+")),
        "pooling": pooling,
        "temperature": temperature,
        "pooling_temperature": pooling_temperature,
    }
    of_training = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "tuned_layers": layers(tuned_layers),
        "text_learning_rate": text_learning_rate,
        "patience": patience,
        "loss": loss,
        "candidates": candidates,
        "warmup_epochs": warmup_epochs,
        "dev_images": dev_images,
        "embed_dim": embed_dim,
        "model": CLIP_SHAN if from_ is not None and model == "shan" else model,
        "seed": seed,
        "precision": precision,
        "device": device,
    }
    config = train_config(of_training, of_model, settings or ())
    start = text_source(word_vectors, sentence_model, text_encoder, from_, config.model)
    table = _read_captions(captions, language or [])
    best = _train(store, view or [], table, start, output, config, resume)
    say(f"{output}: the checkpoint with the best dev rSum, {best:.1f}")


def _read_captions(paths: Sequence[Path], languages: Sequence[str]) -> CaptionTable:
    """The first table, with the captions that the others add to its images."""
    from shan_engine.base.errors import InputError
    from shan_engine.text.captions import CaptionTable

    if languages and len(paths) == 1:
        raise InputError("--language chooses among further captions: give their file with another --captions")
    first, *others = paths
    return CaptionTable.read(first).and_rows([CaptionTable.read(path, languages) for path in others])


def _train(
    store: Path,
    views: Sequence[Path],
    table: CaptionTable,
    start: Path | PretrainedText,
    output: Path,
    config: TrainConfig,
    resume: bool,
) -> float:
    """Train with a progress bar; the best dev rSum."""
    from shan_engine.base.errors import InputError
    from shan_engine.store.feature_store import FeatureStore
    from shan_model.training.loop import train as run

    resolved = [path.resolve() for path in (store, *views)]
    if twice := [path for path in resolved if resolved.count(path) > 1]:
        raise InputError(f"the store {twice[0]} is given twice: leave one --view out")
    with ExitStack() as stack:
        source, *others = [stack.enter_context(FeatureStore.open(path)) for path in (store, *views)]
        show = _reporting(*stack.enter_context(progress("training", "steps")))
        images = table.split("train").images
        for path, held in zip(views, others, strict=True):
            say(f"{path}: {sum(image in held for image in images):,} of {len(images):,} training images")
        return run(source, table, start, output, config, views=others, resume=resume, on_progress=show, on_warning=say)


def _reporting(on_start: Callable[[int], None], on_step: OnDone) -> Callable[[TrainProgress], None]:
    on_start(0)

    def show(state: TrainProgress) -> None:
        on_start(state.total_steps)
        on_step(state.done_steps, f"loss {state.loss:.3f}, {state.pairs_per_second:,.0f} pairs/s")
        if state.message:
            say(state.message)

    return show
