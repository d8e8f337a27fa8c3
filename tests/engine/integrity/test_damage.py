"""One changed byte and one cut in every file of every kind: told with the command that repairs it, then repaired."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from shan_engine.base.errors import ShanError
from shan_engine.bundle.contents import Bundle
from shan_engine.gallery.captions import CaptionGallery
from shan_engine.gallery.filters import metadata_of
from shan_engine.gallery.reader import Gallery
from shan_engine.integrity.repair import repair
from shan_engine.integrity.verify import verify
from shan_engine.jobs.options import JobOptions
from shan_engine.jobs.run import score_job
from shan_engine.search.answer import search
from shan_engine.store.feature_store import FeatureStore
from shan_engine.text.query_files import QueryLine
from tiny import CAPTIONS

KINDS = ("store", "gallery", "captions", "bundle", "hits.parquet.job")
NOT_READ = ("lock", "writer.lock", "lock.mdb", "store.lock")
UNIQUE = ("querybank.json", "captions.jsonl")
"""Files with texts that nothing else has."""
Answer = dict[str, Any]


def store_answer(at: Path, scorer: Any) -> Answer:
    with FeatureStore.open(at / "store") as store:
        ids = store.ids()
        table = store.metadata()
        rows = {} if table is None else table.rows
        known = store.facts(), store.contents(), dict(store.texts()), rows
        return {
            record.id: (record.features.tobytes(), *(one.get(record.id) for one in known)) for record in store.read(ids)
        }


def gallery_answer(at: Path, scorer: Any) -> Answer:
    gallery = Gallery.open(at / "gallery", scorer.bundle)
    (found,) = search(scorer, gallery, ["a dog runs"], top_k=12)
    known = {}
    for block in gallery.blocks:
        for id, row in zip(block.ids, metadata_of(block, range(len(block))), strict=True):
            known[id] = row.get("year")
    return {hit.image.id: (round(hit.score, 4), known[hit.image.id]) for hit in found.hits}


def captions_answer(at: Path, scorer: Any) -> Answer:
    gallery = CaptionGallery.open(at / "captions", scorer.bundle)
    return {
        text: {name: float(array[row].sum()) for name, array in gallery.arrays(block).items()}
        for block in gallery.blocks
        for row, (_, _, text) in enumerate(gallery.listed(block))
    }


def bundle_answer(at: Path, scorer: Any) -> Answer:
    return {"fingerprint": Bundle.open(at / "bundle").manifest.fingerprint}


def job_answer(at: Path, scorer: Any) -> Answer:
    queries = [QueryLine(str(number), text, "") for number, text in enumerate(CAPTIONS)]
    options = JobOptions(top_k=3, block_pairs=20)
    score_job(scorer, [Gallery.open(at / "gallery")], queries, at / "hits.parquet", options=options)
    return {"rows": pyarrow.parquet.read_table(at / "hits.parquet").to_pylist()}


ANSWERS = dict(zip(KINDS, (store_answer, gallery_answer, captions_answer, bundle_answer, job_answer), strict=True))


def damages(file: Path) -> Iterator[tuple[str, bytes]]:
    """The bytes of a file with a changed byte or cut, at its beginning, in its header, in its middle, at its end."""
    data, size = file.read_bytes(), file.stat().st_size
    places = {
        "first byte": 0,
        "header": min(70, size // 3),
        "middle": size // 2,
        "before the end": size - size // 5 - 1,
    }
    for name, place in {**places, "last byte": size - 1}.items():
        yield name, data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]
    if file.name in ("data.mdb", "journal.sqlite"):
        for place in [page + at for page in range(0, size, 4096) for at in (11, 20, 2000, 4000)]:
            yield f"byte {place}", data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]
    for name, length in {"empty": 0, "half": size // 2, "without the last byte": size - 1}.items():
        yield f"cut: {name}", data[:length]


def cases(at: Path, kind: str) -> Iterator[tuple[Path, str, bytes]]:
    for file in sorted((at / kind).rglob("*")):
        if file.is_file() and file.name not in NOT_READ:
            for name, data in damages(file):
                yield file.relative_to(at), name, data


def agree(lost: Sequence[str]) -> None:
    pass


def try_damage(things: Path, at: Path, kind: str, scorer: Any, case: tuple[Path, str, bytes], wanted: Answer) -> bool:
    """Damage a copy, and see it told, repaired and answering. Returns whether it was told."""
    file, name, data = case
    where = f"{file}: {name}"
    shutil.rmtree(at, ignore_errors=True)
    shutil.copytree(things, at)
    (at / file).write_bytes(data)
    found = [finding for verdict in verify(at / kind) for finding in verdict.findings]
    if not found:
        assert ANSWERS[kind](at, scorer) == wanted, (where, "another answer, and nothing was told")
        return False
    named = (one.block or Path(one.file).name for one in found)  # a row's checksum covers all arrays of a block
    assert any(name in str(file) or file.name in one.sentence for name, one in zip(named, found, strict=True)), where
    assert all("`shan-engine " in one.sentence for one in found), (where, found)
    assert all("\n" not in one.sentence for one in found), (where, found)
    try:
        repair(at / kind, store=at / "store", model=things / "bundle", agree=agree)
    except ShanError as error:
        if kind in ("store", "hits.parquet.job") or file.name in UNIQUE:
            return True
        raise AssertionError(where) from error
    left = [finding for verdict in verify(at / kind) for finding in verdict.findings]
    if file.name in UNIQUE and left == found:
        return True
    assert [one.sentence for one in left] == [], (where, [one.sentence for one in found])
    assert repair(at / kind, store=at / "store", model=things / "bundle", agree=agree) == [], where
    answer = ANSWERS[kind](at, scorer)
    if kind == "store":  # a damaged record is left out, and what photos say may be read again
        assert answer.keys() <= wanted.keys(), where
        assert len(answer) >= len(wanted) - 4, where
        for id, (features, *known) in answer.items():
            assert features == wanted[id][0], (where, id)
            assert all(one in (None, before) for one, before in zip(known, wanted[id][1:], strict=True)), (where, id)
    else:
        assert answer == wanted, where
    return True


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("some", [7, pytest.param(0, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_damage_is_told_and_repaired(things: Path, tmp_path: Path, scorer: Any, kind: str, some: int) -> None:
    at = tmp_path / "at"
    every = list(cases(things, kind))
    if some:
        every = [every[place] for place in np.linspace(0, len(every) - 1, min(some, len(every))).astype(int)]
    wanted = ANSWERS[kind](Path(shutil.copytree(things, at)), scorer)
    told = sum(try_damage(things, at, kind, scorer, case, wanted) for case in every)
    assert told > len(every) // 5
    print(f"{kind}: {len(every)} tried, {told} told")
