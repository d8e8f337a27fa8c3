"""`shan-engine import-checkpoint`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from shan_model.choices import PublishedKind

from shan_cli.console import say
from shan_cli.options import Verbose


def import_checkpoint(
    published: Annotated[Path, typer.Argument(help="File that the authors' code wrote, such as model_best.pth.tar.")],
    kind: Annotated[PublishedKind, typer.Option(help="What model it is of.")],
    vocab: Annotated[
        Path,
        typer.Option(
            help="The vocabulary that it was trained with: JSON, or for BERT its tokenizer.json or vocab.txt."
        ),
    ],
    output: Annotated[Path, typer.Option(help="Checkpoint to write.")],
    sentences: Annotated[
        Path | None,
        typer.Option(
            help="Folder `english` of NLTK's punkt_tab: captions are split exactly as by NLTK's word_tokenize.",
            show_default="a caption is one sentence",
        ),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Read a checkpoint that other authors published, as a checkpoint for `export`.

    Example: shan-engine import-checkpoint model_best.pth.tar --kind scan --vocab vocab.json --output checkpoint

    The file is read as data: one that names code is refused. Every tensor is used, or listed with the reason.
    """
    from shan_engine.base.optional import require

    require("train", "torch", "safetensors")
    from shan_model.published.kinds import import_checkpoint as import_published

    done = import_published(published, output, kind=kind, vocab=vocab, sentences=sentences)
    for name, reason in done.left_out.items():
        say(f"left out: {name} {reason}")
    config = done.model.config
    say(f"{output}: {config.model}, {config.feature_dim} numbers a region, {config.vocab_size:,} tokens")
