"""Repair a job of `score`: its journal is written again with every block whose scores are sound."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from shan_engine.base.errors import InputError
from shan_engine.base.locks import LOCK, hold_lock
from shan_engine.integrity.findings import Finding
from shan_engine.jobs.held import HeldJob
from shan_engine.jobs.journal import JOURNAL, NEW, DoneBlock, Journal
from shan_engine.text.query_files import QueryLine

_MOST_BLOCKS = 1 << 15
Row = tuple[Any, ...]
"""A finished block as the journal's table has it."""
_GO_ON = "run the same `shan-engine score` command to continue"


def repair_job(path: Path, findings: Sequence[Finding], agree: Callable[[Sequence[str]], None]) -> list[str]:
    """Repair a job with these findings; sentences of what was done.

    Raises InputError where another process works on it, or its options or captions are lost, and what `agree` raises.
    """
    busy = InputError(f"another process is working on {path}: wait for it")
    with hold_lock(path / LOCK, busy):
        blocks = [int(one.block) for one in findings if one.part == "block"]
        if any(number < 0 for number in blocks):
            raise InputError(f"{path} has lost the pairs of an earlier result: start the job over with --restart")
        if any(one.part == "journal" for one in findings):
            count = _rewritten(path)
            return [f"{path / JOURNAL} was written again with {count:,} finished blocks: {_GO_ON}"]
        with Journal.open(path / JOURNAL) as journal:
            journal.forget(blocks)
        dropped = "1 damaged block was" if len(blocks) == 1 else f"{len(blocks):,} damaged blocks were"
        return [f"{dropped} dropped from {path}, to be scored again: {_GO_ON}"]


def _rewritten(path: Path) -> int:
    """Write a new journal of all that can be read of the damaged one; how many blocks it has."""
    damaged = sqlite3.connect(f"file:{quote(str(path / JOURNAL))}?mode=ro", uri=True)
    try:
        facts = dict(damaged.execute("select name, value from facts").fetchall())
        queries = damaged.execute("select id, text from queries order by number").fetchall()
        with Journal.create(path / NEW) as new:
            new.add_queries(QueryLine(str(id), str(text), "") for id, text in queries)
            new.set_facts(**{name: json.loads(value) for name, value in facts.items()})
            held = HeldJob.read(new)
            held.refuse_changed(new)
            if held.identity.get("since"):
                raise ValueError("it builds on an earlier result")
            count = sum(new.take_over(row) for row in _blocks(damaged) if _is_sound(row, held))
            # What SQLite would roll back belongs to the damaged file.
            (path / f"{JOURNAL}-journal").unlink(missing_ok=True)
            with new.publish(path / JOURNAL):
                pass
            return count
    except (sqlite3.Error, InputError, ValueError, TypeError) as error:
        raise InputError(
            f"{path / JOURNAL} has lost the job's options or captions: start the job over with --restart"
        ) from error
    finally:
        damaged.close()
        (path / NEW).unlink(missing_ok=True)


def _is_sound(row: Row, held: HeldJob) -> bool:
    number, first, last, _, checksum, pairs = row
    if held.identity.get("matrix"):
        return pairs is None  # `score` compares the checksum with the matrix
    return isinstance(pairs, bytes) and DoneBlock(number, checksum, first, last, pairs).is_sound(
        pairs, covers_row=held.sealed
    )


def _blocks(connection: sqlite3.Connection) -> Iterator[Row]:
    """Rows of finished blocks, one by one: a damaged page takes only its own."""
    for number in range(_MOST_BLOCKS):
        try:
            yield from connection.execute("select * from blocks where number = ?", (number,))
        except sqlite3.DatabaseError:
            continue
