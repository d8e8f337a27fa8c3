"""What a training run writes beside the checkpoint: the state to continue from, and metrics by epoch."""

from __future__ import annotations

import hashlib
import io
import json
import mmap
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from shan_engine.base.errors import InputError
from shan_engine.base.files import remove_unfinished, replacing, write_failure
from shan_engine.base.locks import LOCK, hold_lock
from shan_engine.store.schema import StoreSchema
from shan_engine.text.captions import CaptionSplit
from torch import Tensor

from shan_model.checkpoint import FILES
from shan_model.torch_files import load_plain
from shan_model.training.schedule import TrainConfig
from shan_model.training.text import TrainText

STATE = "last.pt"
METRICS = "metrics.jsonl"
PICTURE = "metrics.svg"
FIX = "another --output, or --restart"
FREE_SETTINGS = ("epochs", "device")
_SEAL = b"xxh3:"
_SEAL_BYTES = len(_SEAL) + 16


@dataclass(frozen=True, kw_only=True)
class TrainState:
    """Everything needed to continue a run; `data` holds the `data_digests` of its training data."""

    config: dict[str, Any]
    data: dict[str, str]
    step: int
    best: float
    best_epoch: int
    losses: list[float]
    loss: dict[str, Tensor]
    model: dict[str, Tensor]
    averaged: dict[str, Tensor]
    optimiser: dict[str, Any]

    def save(self, output: Path) -> None:
        """Replace the output's state. Raises InputError if the disk is full; then the old state stays."""
        # Serialised in memory first: on a full disk, torch.save raises a RuntimeError without a reason.
        buffer = io.BytesIO()
        torch.save(dict(vars(self)), buffer)
        _seal(buffer)
        with replacing(output / STATE) as path:
            path.write_bytes(buffer.getbuffer())

    @classmethod
    def load(cls, output: Path) -> TrainState | None:
        """The output's state on the CPU, or None. Raises InputError if it is damaged or of another version."""
        path = output / STATE
        try:
            damaged = not _is_sound(path)
            held = None if damaged else load_plain(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror or error}): use {FIX}") from error
        except Exception as error:  # torch.load raises whatever its parts do, KeyError and EOFError among them
            raise InputError(f"{path} is damaged or not a training state: use {FIX}") from error
        if damaged:
            raise InputError(f"{path} is damaged: use {FIX}")
        if type(held) is not dict or held.keys() != cls.__dataclass_fields__.keys():
            raise InputError(f"{path} is not a training state of this version: use {FIX}")
        return cls(**held)

    def refuse_other(self, output: Path, config: TrainConfig, data: Mapping[str, str]) -> None:
        """Raise InputError if settings or data differ from this state's; the message names the first difference."""
        path, usual = output / STATE, {field.name: field.default for field in fields(config)}
        for name, value in asdict(config).items():
            held = self.config.get(name, usual[name])  # an older version may not have had the setting
            if name not in FREE_SETTINGS and held != value:
                raise InputError(f"{path} was made with {name} {held}, not {value}: use the same settings, {FIX}")
        for name, digest in data.items():
            if self.data.get(name) != digest:
                raise InputError(f"{path} was made with other {name}: use the same, {FIX}")


def _seal(archive: io.BytesIO) -> None:
    """Give a zip archive without a comment one that holds its checksum.

    An archive's own checksums cover neither its directory nor the names there.
    """
    archive.seek(-2, io.SEEK_END)  # the length of the comment
    archive.write(_SEAL_BYTES.to_bytes(2, "little"))
    archive.write(_SEAL + xxhash.xxh3_64_hexdigest(archive.getbuffer()).encode())


def _is_sound(path: Path) -> bool:
    """Whether an archive has the checksum that it is sealed with, or those of its parts if it has no seal."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
        end = held.rfind(_SEAL, max(0, len(held) - 2 * _SEAL_BYTES))
        if end >= 0:
            with memoryview(held) as view, view[:end] as sealed:
                return held[end + len(_SEAL) :] == xxhash.xxh3_64_hexdigest(sealed).encode()
    with zipfile.ZipFile(path) as archive:
        return archive.testzip() is None


@contextmanager
def lock_output(output: Path) -> Iterator[None]:
    """Create the folder `output` if needed, lock it against other runs, and remove unfinished files of killed runs.

    Raises InputError if another run holds the lock, or if `output` cannot be written.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file: name another --output")
    busy = InputError(f"another process is training in {output}: wait for it, or name another --output")
    with ExitStack() as held:
        try:
            output.mkdir(parents=True, exist_ok=True)
            held.enter_context(hold_lock(output / LOCK, busy))
        except OSError as error:
            raise InputError(write_failure(output, error)) from error
        for name in (STATE, METRICS, PICTURE, *FILES):
            remove_unfinished(output / name)
        yield


def data_digests(
    training: CaptionSplit,
    dev: CaptionSplit,
    text: TrainText,
    schemas: Sequence[StoreSchema],
    holders: NDArray[np.bool_],
) -> dict[str, str]:
    """Digests of a run's training data, by the name that messages use. For features: their extractor and size F.

    `schemas` and `holders` (images x stores: which store has an image) list the store first, then its views.
    """
    features, *views = (f"{schema.feature_extractor} {schema.feature_dim}" for schema in schemas)
    splits = [[split.images, split.captions, split.caption_images.tolist()] for split in (training, dev)]
    return {
        "features": features,
        "captions": hashlib.sha256(json.dumps(splits).encode()).hexdigest(),
        text.name: text.digest(),
        "views": hashlib.sha256(json.dumps(views).encode() + np.packbits(holders).tobytes()).hexdigest(),
    }


def write_metrics(output: Path, line: Mapping[str, Any]) -> None:
    """Append an epoch's figures to those of earlier epochs.

    Drops lines of this epoch or later ones, left by an interrupted or restarted run, and incomplete lines.
    """
    path = output / METRICS
    with replacing(path) as temporary:
        lines = path.read_text("utf-8", "replace").split("\n") if path.exists() else []
        kept = [text for text in lines if _epoch(text) < line["epoch"]]
        temporary.write_text("".join(f"{text}\n" for text in [*kept, json.dumps(line)]), "utf-8")


def _epoch(line: str) -> float:
    """The epoch of a line of metrics, infinity if the line is incomplete."""
    try:
        return int(json.loads(line)["epoch"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
