"""Check the journal of a job of `score`, and every block that it says is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from shan_engine.base.errors import InputError
from shan_engine.base.packing import read_npy
from shan_engine.integrity.findings import Event, Finding, clause
from shan_engine.jobs.held import HeldJob
from shan_engine.jobs.job import MATRIX
from shan_engine.jobs.journal import JOURNAL, DoneBlock, Journal
from shan_engine.jobs.plan import Portion, job_blocks


def check_job(path: Path, fix: str) -> Iterator[Event]:
    """Faults of a job. `fix` is the clause that names the repairing command."""
    try:
        with Journal.open(path / JOURNAL) as journal:
            held = HeldJob.read(journal)
            held.refuse_changed(journal)
            matrix = held.identity.get("matrix") is True
            if matrix and journal.facts().get("finishing") and not (path / MATRIX).exists():
                return  # the matrix has become the output
            for done, (number, sound) in enumerate(done_blocks(path, journal, held), 1):
                if not sound:
                    file = path / (MATRIX if matrix else JOURNAL)
                    sentence = f"{file} is damaged, as the scores of block {number} have changed: {fix}"
                    yield Finding("block", file.name, sentence, block=str(number))
                yield done
    except InputError as error:
        yield Finding("journal", JOURNAL, f"{clause(error)}: {fix}")


def done_blocks(path: Path, journal: Journal, held: HeldJob) -> Iterator[tuple[int, bool]]:
    """Number of each finished block, and whether its scores are those that were written."""
    data_of = _in_matrix(path, journal, held) if held.identity.get("matrix") else lambda block: block.pairs
    for block in journal.done():
        data = data_of(block)
        yield block.number, data is not None and block.is_sound(data, covers_row=held.sealed)


def _in_matrix(path: Path, journal: Journal, held: HeldJob) -> Callable[[DoneBlock], bytes | None]:
    """What gives the bytes of a block's part of the matrix, None where it cannot be read."""
    by_image, captions = held.identity.get("direction") == "image-to-text", journal.query_count()
    try:
        matrix = read_npy(path / MATRIX, mapped=True)
        images = matrix.shape[0 if by_image else 1]
        blocks = list(job_blocks(held.plan, captions, (Portion(0, images),)))
    except (OSError, ValueError, TypeError, IndexError):
        return lambda block: None

    def data(block: DoneBlock) -> bytes | None:
        if matrix.dtype != np.float32 or not 0 <= block.number < len(blocks):
            return None
        row, column, (rows, columns) = blocks[block.number].rectangle(by_image=by_image)
        return np.ascontiguousarray(matrix[row : row + rows, column : column + columns]).tobytes()

    return data
