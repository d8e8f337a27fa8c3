"""What is written in photos, in a feature store: the table `text`, a JSON object for each image id.

It has the lines in reading order, a checksum over them and which reader read them. An image without a row was not read.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

import lmdb
import xxhash

from shan_engine.base.errors import StoreError
from shan_engine.base.ids import decode_id, is_shortened, store_key
from shan_engine.base.json_rows import decode_row
from shan_engine.base.text_lines import TextLine
from shan_engine.store.image_rows import delete_rows, put_rows
from shan_engine.store.open_store import OpenStore

_TABLE = b"text"
_BATCH = 512  # images whose text one transaction reads
_T = TypeVar("_T")


class TextStore(OpenStore):
    """The text of the images of an open store."""

    def put_text(self, texts: Mapping[str, Sequence[TextLine]], *, reader: str) -> None:
        """Add or replace what is written in photos, by id: lines in reading order, none where nothing is written.

        `reader` names the program that read them, with its version. An image that is no longer there is passed over.
        """

        def put(transaction: lmdb.Transaction) -> None:
            there = {id: key for id in texts if transaction.get(key := store_key(id), db=self._ids) is not None}
            self._put_texts(transaction, {id: _row(texts[id], reader) for id in there})

        self._write(put)

    def texts(self, ids: Iterable[str] | None = None) -> Iterator[tuple[str, tuple[TextLine, ...]]]:
        """What is written in the photos `ids`, or in all: ids and lines. Images that were not read are left out.

        Raises StoreError for damaged text.
        """
        return self._texts(ids, _lines)

    def text_checksum(self, rows: Mapping[str, int]) -> int | None:
        """XXH3 of what is written in photos, as the store has it, and their `rows`, by id; None if none was read."""

        def summed(transaction: lmdb.Transaction) -> int | None:
            table, state, known = self._text_table(transaction), xxhash.xxh3_64(), False
            for id, row in rows.items() if table is not None else ():
                if (value := transaction.get(store_key(id), db=table)) is not None:
                    known = True
                    state.update(b"%d " % row + value)
            return state.intdigest() if known else None

        return self._read(summed)

    def text_readers(self) -> dict[str, str]:
        """Which reader read each image, by id; nothing for images that were not read. Raises as `texts`."""
        return dict(self._texts(None, lambda row: str(row["reader"])))

    def forget_text(self) -> None:
        """Remove what is written in photos. Its bytes leave the disk only with `compact`."""

        def drop(transaction: lmdb.Transaction) -> None:
            if (table := self._text_table(transaction)) is not None:
                transaction.drop(table, delete=False)

        self._write(drop)

    def _delete_texts(self, transaction: lmdb.Transaction, keys: Iterable[bytes]) -> None:
        delete_rows(self._environment, transaction, _TABLE, keys)

    def _take_texts(self, transaction: lmdb.Transaction, ids: Mapping[str, str]) -> Callable[[], None]:
        """Take the text of images out of the table, by present id. Calling the answer puts it in under the new ids."""
        table = self._text_table(transaction)
        held = {} if table is None else {new: transaction.pop(store_key(id), db=table) for id, new in ids.items()}
        rows = {id: decode_row(value) for id, value in held.items() if value is not None}
        return lambda: self._put_texts(transaction, rows)

    def _put_texts(self, transaction: lmdb.Transaction, rows: Mapping[str, dict[str, Any]]) -> None:
        keys = {id: store_key(id) for id in rows}
        named = {key: {**rows[id], "id": id} if is_shortened(key) else rows[id] for id, key in keys.items()}
        if named:
            put_rows(self._environment, transaction, _TABLE, named)

    def _texts(self, ids: Iterable[str] | None, take: Callable[[Any], _T]) -> Iterator[tuple[str, _T]]:
        # Some at a time: the lines of a million photos take gigabytes.
        wanted, last = None if ids is None else iter(ids), b""

        def some(transaction: lmdb.Transaction) -> tuple[list[bytes], list[tuple[str, _T]]]:
            table = self._text_table(transaction)
            if table is None:
                return [], []
            if wanted is None:
                keys = _keys_after(transaction.cursor(table), last)
            else:
                keys = [store_key(id) for id in islice(wanted, _BATCH)]
            held = ((key, transaction.get(key, db=table)) for key in keys if key)
            return keys, [self._taken(key, value, take) for key, value in held if value is not None]

        while True:
            keys, found = self._read(some)
            if not keys:
                return
            last = keys[-1]
            yield from found

    def _taken(self, key: bytes, value: bytes | memoryview, take: Callable[[Any], _T]) -> tuple[str, _T]:
        try:
            row = decode_row(value)
            return str(row["id"]) if is_shortened(key) else decode_id(key), take(row)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise StoreError(
                f"the text of image '{decode_id(key)}' in {self.path} is damaged ({error}): remove all text with "
                f"`shan-engine store forget-text {self.path}`, then read the photos again"
            ) from error

    def _text_table(self, transaction: lmdb.Transaction) -> Any:
        """The table, None where the store has none."""
        try:
            return self._environment.open_db(_TABLE, txn=transaction, create=False)
        except lmdb.NotFoundError:
            return None


def _keys_after(cursor: lmdb.Cursor, key: bytes) -> list[bytes]:
    there = cursor.set_range(key + b"\0")
    found: list[bytes] = []
    while there and len(found) < _BATCH:
        found.append(bytes(cursor.key()))
        there = cursor.next()
    return found


def _row(lines: Sequence[TextLine], reader: str) -> dict[str, Any]:
    held = [[line.text, line.confidence, *line.box] for line in lines]
    return {"reader": reader, "crc": _checksum(held), "lines": held}


def _lines(row: Any) -> tuple[TextLine, ...]:
    if _checksum(row["lines"]) != row["crc"]:
        raise ValueError("its checksum does not match")
    lines = row["lines"]
    if not all(type(text) is str and all(isinstance(one, int | float) for one in numbers) for text, *numbers in lines):
        raise ValueError("a line is no text with numbers")
    return tuple(TextLine(text, confidence, (x1, y1, x2, y2)) for text, confidence, x1, y1, x2, y2 in lines)


def _checksum(lines: Any) -> int:
    return zlib.crc32(json.dumps(lines).encode())
