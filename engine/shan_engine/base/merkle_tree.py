"""An ordered map of texts to bytes in a file that is only ever appended to: a Merkle tree.

A node names its children by place, size and checksum; a large value lies by itself and is named in the same way. So
whoever knows the `Ref` of the root finds every changed byte as it is read, also one that hides a key. A change writes
the nodes from the root to what has changed behind all others, and the tree before it stays readable.

    node without children    msgpack of [keys, values]; a value begins with 0, or with 1 if a Ref follows
    node with children       msgpack of [the least key of each child, their Refs]
    Ref                      offset u64, size u32, XXH3 u64
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from io import FileIO
from itertools import chain
from threading import Lock
from typing import BinaryIO, NamedTuple

import msgspec
import xxhash

_NODE_BYTES, _CHILDREN = 4096, 128  # of a node, about
_MOST_INSIDE = 512  # bytes of a value inside a node
_KEPT = 1024  # nodes with children; a tree of a million keys has some hundred
_DEEPEST = 32  # a tree of more children than there are bytes in the world
_REF = struct.Struct("<QIQ")
_INSIDE, _OUTSIDE = b"\0", b"\1"
_LEAF = msgspec.msgpack.Decoder(tuple[list[str], list[bytes]])
_BRANCH = msgspec.msgpack.Decoder(tuple[list[str], bytes])
FAULTS = (ValueError, LookupError, TypeError, struct.error)
"""What reading raises where bytes have changed, or were never a tree's."""


class Ref(NamedTuple):
    """Where bytes lie in a file, how many they are, and their XXH3."""

    offset: int
    size: int
    checksum: int


class Root(NamedTuple):
    """A tree: its first node, and how many nodes lie between that and the values."""

    node: Ref
    depth: int


class CheckedFile:
    """A file of which no byte is taken unchecked. Several threads may use it."""

    def __init__(self, file: FileIO) -> None:
        self._file, self._turn = file, Lock()
        self._size = file.seek(0, 2)  # what is appended later is another tree's

    def read(self, ref: Ref) -> bytes:
        """What a Ref names. Raises ValueError where that has changed."""
        if ref.offset + ref.size > self._size:
            raise ValueError(ref)
        with self._turn:
            self._file.seek(ref.offset)
            data = self._file.read(ref.size)
        if len(data) != ref.size or xxhash.xxh3_64_intdigest(data) != ref.checksum:
            raise ValueError(ref)
        return data


class Appender:
    """Writes behind what a file has. `state` is the XXH3 of what was written, from `start` to `end`."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.state = file, xxhash.xxh3_64()
        self.start = self.end = file.seek(0, 2)

    def append(self, data: bytes) -> Ref:
        """Write bytes and return what names them. Raises OSError."""
        self._file.write(data)
        self.state.update(data)
        ref = Ref(self.end, len(data), xxhash.xxh3_64_intdigest(data))
        self.end += len(data)
        return ref


class Place(NamedTuple):
    """A node in its tree: `depth` nodes lie between it and values, its keys begin with `least` and end before `before`.

    None stands for any. As the keys of two nodes never overlap, no file can make a tree that is larger than itself.
    """

    node: Ref
    depth: int
    least: str | None = None
    before: str | None = None

    def checked(self, keys: list[str]) -> list[str]:
        """The keys as they are. Raises ValueError where they are not those of this place."""
        if keys != sorted(keys) or len(set(keys)) != len(keys):
            raise ValueError(self)
        begins = self.least is None or keys[0] == self.least
        if not begins or not (self.before is None or keys[-1] < self.before):
            raise ValueError(self)
        return keys


class MerkleTree:
    """A tree, read. All methods raise one of `FAULTS` where bytes have changed."""

    def __init__(self, file: CheckedFile, root: Root) -> None:
        self._file, self.root = file, root
        if root.depth > _DEEPEST:
            raise ValueError(root)
        self.branch = lru_cache(_KEPT)(self._branch)

    def get(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The values of those keys that there are."""
        wanted = sorted(set(keys))
        return {key: self.value(held) for key, held in self._among(Place(*self.root), wanted)} if wanted else {}

    def items(self, start: str, stop: str) -> Iterator[tuple[str, bytes]]:
        """Keys from `start` on, before `stop`, ascending, and what `value` and `size` take."""
        todo = [Place(*self.root)]
        while todo:
            place = todo.pop()
            if place.depth:
                branch = self.branch(place)
                first, end = max(bisect_right(branch.keys, start) - 1, 0), bisect_left(branch.keys, stop)
                todo += map(branch.child, reversed(range(first, end)))
            else:
                keys, values = self.leaf(place)
                own = slice(bisect_left(keys, start), bisect_left(keys, stop))
                yield from zip(keys[own], values[own], strict=True)

    def value(self, held: bytes) -> bytes:
        """A value as it was put in."""
        return held[1:] if held[:1] == _INSIDE else self._file.read(Ref(*_REF.unpack(held[1:])))

    @staticmethod
    def size(held: bytes) -> int:
        """Of a value in bytes, without reading it."""
        return len(held) - 1 if held[:1] == _INSIDE else int(_REF.unpack(held[1:])[1])

    def leaf(self, place: Place) -> tuple[list[str], list[bytes]]:
        """Keys and held values of a node without children."""
        keys, values = _LEAF.decode(self._file.read(place.node))
        if len(keys) != len(values):
            raise ValueError(place)
        return place.checked(keys), values

    def _branch(self, place: Place) -> Branch:
        """Of a node with children; `branch` keeps those that were read."""
        keys, refs = _BRANCH.decode(self._file.read(place.node))
        if len(refs) != len(keys) * _REF.size:
            raise ValueError(place)
        return Branch(place, place.checked(keys), refs)

    def _among(self, place: Place, wanted: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        if not place.depth:
            keys, values = self.leaf(place)
            for key in wanted:
                at = bisect_left(keys, key)
                if at < len(keys) and keys[at] == key:
                    yield key, values[at]
            return
        for child, own in self.branch(place).shared_out(wanted):
            yield from self._among(child, own)


class Branch(NamedTuple):
    """A node with children: the least key of each, and their packed Refs."""

    place: Place
    keys: list[str]
    refs: bytes

    def child(self, number: int) -> Place:
        """The place of a child."""
        before = self.keys[number + 1] if number + 1 < len(self.keys) else self.place.before
        node = Ref(*_REF.unpack_from(self.refs, number * _REF.size))
        return Place(node, self.place.depth - 1, self.keys[number], before)

    def shared_out(self, wanted: Sequence[str]) -> Iterator[tuple[Place, Sequence[str]]]:
        """Children, and those of the ascending `wanted` keys that are theirs; lesser ones than all are the first's."""
        at = 0
        while at < len(wanted):
            number = max(bisect_right(self.keys, wanted[at]) - 1, 0)
            child = self.child(number)
            end = len(wanted) if number + 1 == len(self.keys) else bisect_left(wanted, self.keys[number + 1], at)
            yield child, wanted[at:end]
            at = end


def build_tree(to: Appender, items: Iterable[tuple[str, bytes]]) -> Root:
    """Write a tree of keys, ascending, and their values. Raises OSError."""
    return _rooted(to, list(_leaves(to, ((key, _held(to, value)) for key, value in items))), 0)


def change_tree(to: Appender, tree: MerkleTree, changes: Mapping[str, bytes | None]) -> Root:
    """Write what changes in a tree: new values by key, None for those that leave. Raises OSError, and as the tree."""
    held = {key: None if value is None else _held(to, value) for key, value in changes.items()}
    return (
        _rooted(to, list(_changed(to, tree, Place(*tree.root), sorted(held), held)), tree.root.depth)
        if held
        else tree.root
    )


def _changed(
    to: Appender, tree: MerkleTree, place: Place, wanted: Sequence[str], held: Mapping[str, bytes | None]
) -> Iterator[tuple[str, Ref]]:
    """Least keys and Refs of what a node becomes."""
    if not place.depth:
        merged: dict[str, bytes | None] = dict(zip(*tree.leaf(place), strict=True))
        merged |= {key: held[key] for key in wanted}
        yield from _leaves(to, ((key, value) for key, value in sorted(merged.items()) if value is not None))
        return
    branch = tree.branch(place)
    become = {key: [(key, branch.child(number).node)] for number, key in enumerate(branch.keys)}
    for child, some in branch.shared_out(wanted):
        become[str(child.least)] = list(_changed(to, tree, child, some, held))
    yield from _branches(to, list(chain.from_iterable(become.values())))


def _held(to: Appender, value: bytes) -> bytes:
    return _INSIDE + value if len(value) <= _MOST_INSIDE else _OUTSIDE + _REF.pack(*to.append(value))


def _leaves(to: Appender, items: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, Ref]]:
    keys, values, size = list[str](), list[bytes](), 0
    for key, value in items:
        keys.append(key)
        values.append(value)
        size += len(key) + len(value)
        if size >= _NODE_BYTES:
            yield keys[0], to.append(msgspec.msgpack.encode((keys, values)))
            keys, values, size = [], [], 0
    if keys:
        yield keys[0], to.append(msgspec.msgpack.encode((keys, values)))


def _branches(to: Appender, children: Sequence[tuple[str, Ref]]) -> Iterator[tuple[str, Ref]]:
    for start in range(0, len(children), _CHILDREN):
        own = children[start : start + _CHILDREN]
        refs = b"".join(_REF.pack(*ref) for _, ref in own)
        yield own[0][0], to.append(msgspec.msgpack.encode(([key for key, _ in own], refs)))


def _rooted(to: Appender, nodes: Sequence[tuple[str, Ref]], depth: int) -> Root:
    """The tree of nodes at one depth."""
    if not nodes:
        return Root(to.append(msgspec.msgpack.encode(([], []))), 0)
    while len(nodes) > 1:
        nodes, depth = list(_branches(to, nodes)), depth + 1
    return Root(nodes[0][1], depth)
