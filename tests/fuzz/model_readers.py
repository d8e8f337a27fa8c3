"""Readers of checkpoints, ours and others', and of the state of a training run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from reader import Reader, Shared
from tiny import random_tensors, tiny_config, write_checkpoint


def make_checkpoint(folder: Path) -> None:
    config = tiny_config()
    write_checkpoint(folder, config, random_tensors(config))


def read_checkpoint(folder: Path, path: Path) -> Any:
    from shan_model.checkpoint import load_checkpoint

    model, tokenizer = load_checkpoint(folder)
    assert len(tokenizer) == model.config.vocab_size


def make_published(folder: Path) -> None:
    import argparse

    import torch

    held = {"a.weight": torch.zeros(3, 4), "b.bias": torch.ones(5, dtype=torch.float16)}
    settings = argparse.Namespace(embed_size=4, margin=0.2, name="x", rate=np.float64(1.5))
    torch.save({"model": [held, held], "opt": settings, "epoch": 3}, folder / "new.pth.tar")
    torch.save({"model": held}, folder / "old.pth.tar", _use_new_zipfile_serialization=False)


def read_published(folder: Path, path: Path) -> Any:
    from shan_model.published.torch_file import TorchFile

    for state in TorchFile.read(path).states:
        for tensor in state.values():
            tensor.float().sum().item()


def make_state(folder: Path) -> None:
    import torch
    from shan_model.training.state import TrainState

    held = {"a.weight": torch.zeros(3, 4)}
    optimiser = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-3, "params": [0]}]}
    TrainState(
        config={"epochs": 3},
        data={"captions": "ab" * 32},
        step=3,
        best=1.5,
        best_epoch=0,
        losses=[0.5],
        loss=held,
        model=held,
        averaged=held,
        optimiser=optimiser,
    ).save(folder)


def read_state(folder: Path, path: Path) -> Any:
    """Everything in it, written as text: the state has no comparison of its own."""
    from shan_model.training.state import TrainState

    return repr(vars(TrainState.load(folder)))


def model_readers(shared: Shared) -> list[Reader]:
    tokens = (b"ccopy_reg\n_reconstructor", b"cbuiltins\neval\n", b"R.", b"BINPUT", b"PK\3\4", b"data.pkl")
    return [
        Reader(name="checkpoint", make=make_checkpoint, read=read_checkpoint),
        Reader(name="published", make=make_published, read=read_published, tokens=tokens),
        Reader(name="training", make=make_state, read=read_state, exact=True, tokens=tokens),
    ]
