"""Damaged journals: whatever byte changes, the job ends with the right result, or says that it must start over."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import xxhash
from job_runs import Run
from shan_engine.base.errors import ShanError
from shan_engine.jobs.journal import JOURNAL

ASKED: dict[str, Any] = {"top_k": 3, "texts": ["a dog runs", "a cat sleeps", "a man rides a bike", "two children play"]}


def some_blocks(count: int) -> Callable[[], bool]:
    left = iter(range(count))
    return lambda: next(left, None) is None


@pytest.fixture
def stopped(run_job: Run, tmp_path: Path) -> tuple[list[dict[str, Any]], Callable[..., object]]:
    """What a whole job finds; and what a stopped job finds after a change to its journal."""
    whole = pyarrow.parquet.read_table(run_job("whole.parquet", **ASKED)).to_pylist()
    run_job("half.parquet", **ASKED, stop=some_blocks(2))
    folder = tmp_path / "half.parquet.job"
    shutil.copytree(folder, tmp_path / "kept")

    def resumed(change: Callable[[Path], None]) -> object:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "kept", folder)
        (tmp_path / "half.parquet").unlink(missing_ok=True)
        change(folder / JOURNAL)
        return pyarrow.parquet.read_table(run_job("half.parquet", **ASKED)).to_pylist()

    return whole, resumed


def in_sql(statement: str) -> Callable[[Path], None]:
    def change(journal: Path) -> None:
        connection = sqlite3.connect(journal)
        assert connection.execute(statement).rowcount > 0
        connection.commit()
        connection.close()

    return change


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("update queries set text='man rides mike' where number=2", "its captions are not those"),
        ("update queries set id='q9' where number=3", "its captions are not those"),
        ("update queries set number=9 where number=3", "its captions are not those"),
        ("update facts set value=replace(value, 'tile', 'tule') where name='plan'", "its facts are not those"),
        ("update facts set value=replace(value, 'captions\": ', 'captions\": 1') where name='plan'", "its facts are"),
        ("update facts set value='{\"version\": 1}' where name='identity'", "its facts are not those"),
        ("update facts set value='[5]' where name='lost'", "its facts are not those"),
        ("delete from facts where name='lost'", "it has no lost"),
        ("delete from facts", "it has no identity"),
        ("update facts set value='{' where name='plan'", ""),
        ("update facts set value=0 where name in ('plan', 'digest')", ""),
    ],
)
def test_changed_facts_and_captions_are_told(stopped: Any, statement: str, fault: str) -> None:
    _, resumed = stopped
    fix = "run `shan-engine repair .*`, or start the job over with --restart"
    with pytest.raises(ShanError, match=rf"journal\.sqlite is damaged \(.*{fault}.*: {fix}"):
        resumed(in_sql(statement))


@pytest.mark.parametrize(
    "statement",
    [
        "update blocks set first_row=3 where number=0",
        "update blocks set last_row=0 where number=1",
        "update blocks set number=number+5",
        "update blocks set number=900 where number=1",
        "update blocks set hits=zeroblob(length(hits)) where number=0",
        "update blocks set hits=null where number=0",
        "update blocks set checksum='' where number=0",
    ],
)
def test_a_block_that_changed_is_computed_again(stopped: Any, statement: str) -> None:
    whole, resumed = stopped
    assert resumed(in_sql(statement)) == whole


def test_a_journal_of_an_earlier_version_goes_on(stopped: Any) -> None:
    """Its facts have no digest, and its checksums do not cover a block's number and rows."""
    whole, resumed = stopped
    assert resumed(in_sql("delete from facts where name='digest'")) == whole


def test_a_changed_byte_never_gives_another_result(stopped: Any) -> None:
    whole, resumed = stopped
    random, told = np.random.default_rng(6), 0

    def change(journal: Path) -> None:
        data = bytearray(journal.read_bytes())
        used = np.flatnonzero(np.frombuffer(data, np.uint8))
        data[random.choice(used)] ^= 1 << int(random.integers(8))
        journal.write_bytes(data)

    for _ in range(40):
        try:
            assert resumed(change) == whole
        except ShanError:
            told += 1
    assert told > 5


@pytest.mark.parametrize("size", [-1, 3, 8])
def test_a_block_that_was_signed_with_other_pairs_is_told(stopped: Any, size: int) -> None:
    """As a hostile author writes it; three bytes are no pair, eight set the first row far beyond the last."""
    _, resumed = stopped

    def change(path: Path) -> None:
        with closing(sqlite3.connect(path)) as journal, journal:
            rows = list(journal.execute("select number, first_row, last_row, hits from blocks"))
            number, first, last, hits = rows[0]
            hits = hits[:-1] if size < 0 else b"\x7f" * size + hits[size:] if size == 8 else hits[:size]
            seed = xxhash.xxh3_64_intdigest(json.dumps((number, first, last)).encode())
            held = hits, xxhash.xxh3_64_hexdigest(hits, seed), number
            journal.execute("update blocks set hits = ?, checksum = ? where number = ?", held)

    with pytest.raises(ShanError, match=r"is damaged \(a block has .*: run `shan-engine repair "):
        resumed(change)
