"""Stores and jobs as a hostile author writes them: a value has changed, and all checksums fit.

A change of the file's bytes says which value, and is not kept: the file as it was lies in the reader's folder.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import lmdb
import xxhash
from mutations import changed, changed_json
from shan_engine.base.manifests import digest

SOUND = ".sound"
_CHECK = b', "check": "%08x"}'


def keep(folder: Path, file: Path) -> None:
    """Keep a file as it is, to be signed later."""
    shutil.copyfile(file, folder / f"{file.name}{SOUND}")


def _restored(folder: Path, path: Path) -> Random:
    """What decides how a file is changed, which is put back as it was."""
    random = Random(path.read_bytes())
    path.unlink()  # it may still be mapped
    shutil.copyfile(folder / f"{path.name}{SOUND}", path)
    return random


def sign_store(folder: Path, path: Path) -> None:
    random = _restored(folder, path)
    with lmdb.open(str(path.parent), max_dbs=8) as environment:
        name = random.choice(("records", "records", "ids", "facts", "files", "text", "metadata", "meta")).encode()
        table = environment.open_db(name, create=False)
        with environment.begin(write=True) as transaction:
            key, value = random.choice(list(transaction.cursor(table)))
            made = _ROWS.get(name, _value)(key, value, random)
            if random.random() < 0.1:  # the row of another
                transaction.delete(key, db=table)
                key = random.choice((changed(key, random)[:500] or b"x", b"photo3", b"\0" * 8))
            transaction.put(key, made, db=table)
    (path.parent / "lock.mdb").unlink()


def _value(key: bytes, value: bytes, random: Random) -> bytes:
    return (changed_json(value, random) if random.random() < 0.7 else None) or changed(value, random)


def _other(value: Any, random: Random) -> Any:
    """Another value than one of JSON; none where what came of it is no JSON."""
    try:
        return json.loads(changed_json(json.dumps(value).encode(), random) or b"null")
    except (ValueError, RecursionError):
        return None


def _record(key: bytes, value: bytes, random: Random) -> bytes:
    regions, flags, size, classes = struct.unpack_from("<HHII", value, 4)
    head, text = value[16 : len(value) - size], value[len(value) - size :]
    what = random.random()
    if what < 0.6:
        text = _value(key, text, random)
        size = len(text)
    elif what < 0.8:
        regions, flags, classes = (random.choice((one, 0, 1, 65535)) for one in (regions, flags, classes))
    else:
        head = changed(head, random)
    body = struct.pack("<HHII", regions, flags, size, classes) + head + text
    return struct.pack("<I", zlib.crc32(body)) + body


def _image_row(key: bytes, value: bytes, random: Random) -> bytes:
    text = _value(key, value[: -len(_CHECK % 0)] + b"}", random)[:-1]
    return text + _CHECK % zlib.crc32(text, zlib.crc32(key))


def _text_row(key: bytes, value: bytes, random: Random) -> bytes:
    row = json.loads(value)
    row["lines"] = _other(row["lines"], random)
    row["crc"] = zlib.crc32(json.dumps(row["lines"]).encode())
    text = json.dumps({name: one for name, one in row.items() if name != "check"}).encode()[:-1]
    return text + _CHECK % zlib.crc32(text, zlib.crc32(key))


_ROWS: dict[bytes, Callable[[bytes, bytes, Random], bytes]] = {
    b"records": _record,
    b"facts": _image_row,
    b"files": _image_row,
    b"text": _text_row,
}


def sign_job(folder: Path, path: Path) -> None:
    if path.suffix != ".sqlite":
        return
    random = _restored(folder, path)
    with sqlite3.connect(path) as journal:
        facts = {name: json.loads(value) for name, value in journal.execute("select name, value from facts")}
        what = random.random()
        if what < 0.4:
            name = random.choice(("identity", "plan", "lost"))
            facts[name] = _other(facts[name], random)
        elif what < 0.6:
            number, text = random.choice(list(journal.execute("select number, text from queries")))
            made = changed(text.encode(), random).decode("utf-8", "replace")
            journal.execute("update queries set text = ? where number = ?", (made, number))
            facts["identity"]["captions"] = _captions(journal)
        else:
            rows = list(journal.execute("select number, first_row, last_row, hits from blocks"))
            old, *row, hits = random.choice(rows)
            if random.random() < 0.5:
                hits = changed(hits, random)
            number, first, last = (random.choice((one, one, 0, -1, 2**62)) for one in (old, *row))
            held = xxhash.xxh3_64_hexdigest(hits, xxhash.xxh3_64_intdigest(json.dumps((number, first, last)).encode()))
            journal.execute(
                "update or replace blocks set number=?, first_row=?, last_row=?, bytes=?, checksum=?, hits=? "
                "where number=?",
                (number, first, last, len(hits), held, hits, old),
            )
        facts["digest"] = digest({name: facts[name] for name in ("identity", "plan", "lost")})
        journal.executemany(
            "replace into facts values (?, ?)", [(name, json.dumps(one)) for name, one in facts.items()]
        )
    journal.close()


def _captions(journal: Any) -> str:
    held = hashlib.sha256()
    for text in (text for row in journal.execute("select id, text from queries order by number") for text in row):
        held.update(len(text.encode()).to_bytes(8) + text.encode())
    return held.hexdigest()
