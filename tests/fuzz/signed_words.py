"""Make the checksums of an index of written words fit its bytes, as a hostile author does."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import xxhash
from resigned import sign_fields
from shan_engine.base.merkle_tree import FAULTS, Ref
from shan_engine.gallery.written_format import WrittenFacts, written_name

_LEAST, _DEEPEST = 21, 3  # bytes of a value that names another place, and levels of a small tree


def sign_written(gallery: Path, path: Path) -> None:
    """Sign all nodes of the index in `path`, then its facts, and name these in the manifest."""
    data = bytearray(path.read_bytes())
    manifest = gallery / "manifest.json"
    name = json.loads(manifest.read_text("utf-8"))["written"]
    offset, size, _ = (int(one, 16) for one in name.split("-")[1:])
    facts = bytes(data[offset : offset + size])
    try:
        held = msgspec.msgpack.decode(facts, type=WrittenFacts)
        root = _signed(data, Ref(*held.root[0]), held.root[1])
        facts = msgspec.msgpack.encode(msgspec.structs.replace(held, root=(root, held.root[1])))
    except FAULTS:
        pass
    where = Ref(len(data), len(facts), xxhash.xxh3_64_intdigest(facts))
    path.write_bytes(data + facts)
    sign_fields(manifest, written=written_name(name, where))


def _signed(data: bytearray, ref: Ref, depth: int) -> Ref:
    """Sign a node and those below it, as far as they can be read."""
    node = bytes(data[ref.offset : ref.offset + ref.size])
    try:
        _, values = msgspec.msgpack.decode(node)
        held = values if not depth else [b"\1" + values[at : at + 20] for at in range(0, len(values), 20)]
        for value in held if depth <= _DEEPEST else ():
            if len(value) == _LEAST and value[:1] == b"\1":
                fields = (int.from_bytes(value[at:end], "little") for at, end in ((1, 9), (9, 13), (13, 21)))
                child = _signed(data, Ref(*fields), depth - 1) if depth else _data(data, Ref(*fields))
                node = node.replace(value[1:], value[1:13] + child.checksum.to_bytes(8, "little"))
    except FAULTS:
        pass
    data[ref.offset : ref.offset + len(node)] = node
    return _data(data, ref)


def _data(data: bytearray, ref: Ref) -> Ref:
    return ref._replace(checksum=xxhash.xxh3_64_intdigest(data[ref.offset : ref.offset + ref.size]))
