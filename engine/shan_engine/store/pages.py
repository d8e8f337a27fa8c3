"""Check the trees of an LMDB data file before LMDB follows them.

LMDB maps its file and trusts what pages say of themselves: a changed byte may lead it outside the file, which ends the
process (SIGBUS), or hide entries, because a search among unsorted keys misses them. This module reads the same pages
as arrays. It checks page numbers, kinds, sizes and places of nodes, the order of all keys, the number of entries, and
that no page belongs to two owners, free pages included. Values are left to checksums of their own.

The layout is that of LMDB 0.9 on a little-endian machine with addresses of 64 bits.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import lmdb
import numpy as np
from numpy.typing import NDArray

from shan_engine.base.manifests import demand

HEADER, _NODE = 16, 8
BRANCH, LEAF, _OVERFLOW = 1, 2, 4
_BIG, _TREE = 1, 2  # flags of a node: its value has pages of its own, or is another tree
_NO_ROOT = 2**64 - 1
META = struct.Struct("<II16x48s48sQQ")  # magic, version, the tree of free pages, the main tree, last page, transaction
DB = struct.Struct("<IHHQQQQQ")
_NO_TREE = DB.pack(0, 0, 0, 0, 0, 0, 0, _NO_ROOT)
MAGIC = 0xBEEFC0DE
_CHUNK = 128  # pages that are looked at together
_TRIES = 100
_DEEPEST = 32  # levels that LMDB can follow
_UNSORTED = "its keys are not in order"
_Numbers = NDArray[np.int64]
_Key = tuple[bytes, int]  # without zeros at its end, and its size
_NOTHING: _Key = (b"", -1)  # before every key


@dataclass(frozen=True)
class _Tree:
    depth: int
    entries: int
    root: int

    @classmethod
    def parse(cls, data: bytes) -> _Tree:
        _, _, depth, _, _, _, entries, root = DB.unpack(data)
        return cls(depth, entries, root)


@dataclass(frozen=True)
class _Nodes:
    """The nodes of some pages, in order.

    `own` numbers the page of each, `values` are places in the file, `children` are the pages that a branch page names,
    and `keys` are padded with zeros.
    """

    own: _Numbers
    flags: _Numbers
    key_sizes: _Numbers
    values: _Numbers
    value_sizes: _Numbers
    children: _Numbers
    keys: NDArray[np.bytes_]


class _File:
    """A data file as an array of pages; `owned` collects first pages and numbers of pages that something has."""

    def __init__(self, path: Path, page_size: int, last: int) -> None:
        self.bytes = np.memmap(path, np.uint8, "r")
        self.size, self.last = page_size, last
        demand(last >= 1 and (last + 1) * page_size <= len(self.bytes), "it ends before its last page")
        self.pages = self.bytes[: (last + 1) * page_size].reshape(last + 1, page_size)
        self.owned: list[tuple[_Numbers, _Numbers]] = []

    def number(self, pages: _Numbers, at: int, dtype: str = "<u2") -> _Numbers:
        """The number at a place of each page's header."""
        size = np.dtype(dtype).itemsize
        return np.ascontiguousarray(self.pages[pages, at : at + size]).view(dtype)[:, 0].astype(np.int64)

    def own(self, first: _Numbers, counts: _Numbers, what: str) -> None:
        """Note pages that must be in the file and belong to nothing else."""
        inside = (first >= 2) & (counts >= 1) & (counts <= self.last) & (first + counts - 1 <= self.last)
        demand(bool(inside.all()), f"{what} lies outside the file")
        self.owned.append((first, counts))

    def refuse_shared(self) -> None:
        """Raise ValueError if a page belongs to two owners."""
        first, counts = (np.concatenate(found) for found in zip(*self.owned, strict=True)) if self.owned else ((), ())
        order = np.argsort(first, kind="stable")
        ends = (np.asarray(first) + counts)[order]
        demand(bool((ends[:-1] <= np.asarray(first)[order][1:]).all()), "a page belongs to two owners")

    def nodes(self, pages: _Numbers, *, leaf: bool, numbers: bool) -> _Nodes:
        """All nodes of branch pages or leaf pages, checked against the pages that hold them.

        Keys that are numbers are turned around, so that they can be compared as bytes.
        """
        demand(bool((self.number(pages, 0, "<i8") == pages).all()), "a page has another page's number")
        kind = LEAF if leaf else BRANCH
        demand(bool((self.number(pages, 10) == kind).all()), f"page {pages[0]} or one after it is of another kind")
        lower, upper = self.number(pages, 12), self.number(pages, 14)
        counts = (lower - HEADER) // 2
        sound = (counts >= (1 if leaf else 2)) & (lower % 2 == 0) & (lower <= upper) & (upper <= self.size)
        demand(bool(sound.all()), "a page has impossible bounds")
        own = np.repeat(np.arange(len(pages)), counts)
        within = np.arange(len(own)) - np.repeat(np.cumsum(counts) - counts, counts)
        held = self.pages[pages]
        places = _two_bytes(held, own, HEADER + 2 * within)
        fits = (places >= upper[own]) & (places + _NODE <= self.size) & (places % 2 == 0)
        demand(bool(fits.all()), "a node lies outside its page")
        low, high, flags, key_sizes = (_two_bytes(held, own, places + at) for at in (0, 2, 4, 6))
        value_sizes = low | high << 16
        if leaf:
            on_page = np.where(flags & _BIG, 8, value_sizes)
            demand(not (flags & ~(_BIG | _TREE)).any(), "a node is of an unknown kind")
        else:
            on_page = np.zeros_like(low)
        sizes = _NODE + key_sizes + on_page
        demand(bool((places + sizes <= self.size).all()), "a node is larger than its page")
        used = np.bincount(own, sizes + sizes % 2, len(pages)).astype(np.int64)
        demand(bool((used == self.size - upper).all()), "nodes of a page overlap")
        at = pages[own] * self.size + places + _NODE
        width = max(1, int(key_sizes.max(initial=0)))
        columns = np.arange(width)
        keys = self.bytes[np.minimum(at[:, None] + columns, len(self.bytes) - 1)]
        keys[columns >= key_sizes[:, None]] = 0
        if numbers:
            demand(
                bool(np.isin(key_sizes, (0, 8) if not leaf else (8,)).all()), "a list of free pages has no transaction"
            )
            keys = keys[:, ::-1]
        children = value_sizes | flags << 32
        packed = np.ascontiguousarray(keys).view(f"S{width}")[:, 0]
        return _Nodes(own, flags, key_sizes, at + key_sizes, value_sizes, children, packed)

    def value(self, nodes: _Nodes, row: int) -> bytes:
        """The value of one node, whose pages were checked."""
        start, size = int(nodes.values[row]), int(nodes.value_sizes[row])
        if nodes.flags[row] & _BIG:
            start = int(self._big(nodes, np.array([row]))[0]) * self.size + HEADER
        return self.bytes[start : start + size].tobytes()

    def _big(self, nodes: _Nodes, rows: _Numbers) -> _Numbers:
        places = nodes.values[rows][:, None] + np.arange(8)
        return np.ascontiguousarray(self.bytes[places]).view("<i8")[:, 0]

    def own_big(self, nodes: _Nodes) -> None:
        """Note the pages of values that have pages of their own."""
        rows = np.flatnonzero(nodes.flags & _BIG)
        if not len(rows):
            return
        first, needed = self._big(nodes, rows), (nodes.value_sizes[rows] + HEADER - 1) // self.size + 1
        self.own(first, needed, "a value")
        self.owned.pop()
        held = self.number(first, 12, "<u4")
        sound = (self.number(first, 0, "<i8") == first) & (self.number(first, 10) == _OVERFLOW) & (held >= needed)
        demand(bool(sound.all()), "a value's page is of another kind")
        self.own(first, held, "a value")


def _two_bytes(pages: NDArray[np.uint8], rows: _Numbers, places: _Numbers) -> _Numbers:
    return pages[rows, places].astype(np.int64) | pages[rows, places + 1].astype(np.int64) << 8


def check_pages(path: Path, environment: lmdb.Environment) -> dict[str, int]:
    """Check every page of a data file but the bytes of values. Returns the number of entries of each table by name.

    The file must have its full length. Raises ValueError with a clause that names the fault, and OSError if
    other processes write all the time.
    """
    with _snapshot(path, environment) as (file, free, main):
        for nodes in _leaves(file, free, numbers=True):
            file.own_big(nodes)
            for row in range(len(nodes.keys)):
                _own_free(file, file.value(nodes, row))
        tables = {}
        for nodes in _leaves(file, main):
            file.own_big(nodes)
            for row, name in enumerate(nodes.keys.tolist()):
                is_table = nodes.flags[row] == _TREE and nodes.value_sizes[row] == DB.size
                tree = _Tree.parse(file.value(nodes, row) if is_table else _NO_TREE)
                tables[name.decode("ascii", "replace")] = tree.entries
                for held in _leaves(file, tree):
                    demand(not (held.flags & _TREE).any(), "a record is of an unknown kind")
                    file.own_big(held)
        file.refuse_shared()
    return tables


@contextmanager
def _snapshot(path: Path, environment: lmdb.Environment) -> Iterator[tuple[_File, _Tree, _Tree]]:
    """The file as one transaction sees it, whose pages no writer reuses, and its two trees."""
    page_size = int(environment.stat()["psize"])
    demand(page_size in (2**power for power in range(9, 17)), "its pages have an impossible size")
    for _ in range(_TRIES):
        with environment.begin() as transaction:
            with (path / "data.mdb").open("rb") as held:
                heads = [META.unpack_from(held.read(page_size).ljust(page_size, b"\0"), HEADER) for _ in range(2)]
            # The number's last bit says which head counts, also where others still have the file from before a
            # compaction open and know a higher number. A head with a higher one was written since.
            id = transaction.id()
            magic, _, free, main, last, written = next((head for head in heads if head[5] == id), heads[id & 1])
            if magic == MAGIC and written <= id:
                yield _File(path / "data.mdb", page_size, last), _Tree.parse(free), _Tree.parse(main)
                return
    raise OSError(errno.EBUSY, "other programs write all the time")


def _leaves(file: _File, tree: _Tree, *, numbers: bool = False) -> Iterator[_Nodes]:
    """The nodes of a tree's leaf pages, some pages at a time, in the order of their keys, which is checked."""
    if tree.root == _NO_ROOT:
        demand(tree.entries == 0, "a table has lost its tree")
        return
    demand(1 <= tree.depth <= _DEEPEST, "a tree has an impossible depth")
    level, least = np.array([min(tree.root, 2**62)], np.int64), [_NOTHING]
    for _ in range(tree.depth - 1):
        children: list[_Numbers] = []
        bounds: list[_Key] = []
        for start, nodes in _in_chunks(file, level, leaf=False, numbers=numbers):
            found: list[_Key] = list(zip(nodes.keys.tolist(), nodes.key_sizes.tolist(), strict=True))
            # LMDB does not look at the first key of a branch page.
            for row in np.flatnonzero(np.diff(nodes.own, prepend=-1)).tolist():
                found[row] = least[start + int(nodes.own[row])]
            children.append(nodes.children)
            bounds += found
        level, least = np.concatenate(children), bounds
        demand(len(level) <= file.last, "a tree has more pages than the file")
    count = 0
    last = _NOTHING
    for start, nodes in _in_chunks(file, level, leaf=True, numbers=numbers):
        keys, sizes = nodes.keys, nodes.key_sizes
        ascend = (keys[:-1] < keys[1:]) | ((keys[:-1] == keys[1:]) & (sizes[:-1] < sizes[1:]))
        demand(bool(ascend.all()), _UNSORTED)
        for row in np.flatnonzero(np.diff(nodes.own, prepend=-1)).tolist():
            before = _key(nodes, row - 1) if row else last
            first, bound = _key(nodes, row), least[start + int(nodes.own[row])]
            demand(before < first and (bound == _NOTHING or before < bound <= first), _UNSORTED)
        last = _key(nodes, len(keys) - 1)
        count += len(keys)
        yield nodes
    demand(count == tree.entries, f"{tree.entries} entries were written and {count} were found")


def _key(nodes: _Nodes, row: int) -> _Key:
    return bytes(nodes.keys[row]), int(nodes.key_sizes[row])


def _in_chunks(file: _File, pages: _Numbers, *, leaf: bool, numbers: bool) -> Iterator[tuple[int, _Nodes]]:
    for start in range(0, len(pages), _CHUNK):
        chunk = pages[start : start + _CHUNK]
        file.own(chunk, np.ones_like(chunk), "a page")
        yield start, file.nodes(chunk, leaf=leaf, numbers=numbers)


def _own_free(file: _File, value: bytes) -> None:
    """Note the pages of a list of free pages: how many, then their numbers."""
    held = np.frombuffer(value[: len(value) // 8 * 8], "<i8")
    demand(len(held) > 0 and 0 <= held[0] < len(held), "a list of free pages is cut")
    free = held[1 : 1 + held[0]]
    file.own(free, np.ones_like(free), "a free page")
