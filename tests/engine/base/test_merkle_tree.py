"""A tree of checked nodes is the map that was put in, also after changes, and tells every changed byte."""

from __future__ import annotations

import random
import weakref
from pathlib import Path

import msgspec
import pytest
from shan_engine.base.merkle_tree import FAULTS, Appender, CheckedFile, MerkleTree, Ref, Root, build_tree, change_tree


@pytest.fixture(autouse=True)
def deep(monkeypatch):
    for name, value in (("_NODE_BYTES", 60), ("_CHILDREN", 3), ("_MOST_INSIDE", 12)):
        monkeypatch.setattr(f"shan_engine.base.merkle_tree.{name}", value)


def value_of(draw: random.Random) -> bytes:
    return bytes(draw.choices(range(256), k=draw.choice((0, 3, 12, 13, 90))))


def opened(path: Path, root: Root) -> MerkleTree:
    file = path.open("rb", buffering=0)
    tree = MerkleTree(CheckedFile(file), root)
    weakref.finalize(tree, file.close)
    return tree


def content(tree: MerkleTree) -> dict[str, bytes]:
    return {key: tree.value(held) for key, held in tree.items("", "\U0010ffff")}


def made(path: Path, items: dict[str, bytes]) -> Root:
    with path.open("ab") as file:
        return build_tree(Appender(file), sorted(items.items()))


@pytest.mark.parametrize("seed", range(8))
def test_changes_give_the_map_and_leave_earlier_ones(tmp_path, seed):
    draw, path = random.Random(seed), tmp_path / "tree"
    names = [f"{chr(97 + number % 5)}{number:02x}é" for number in range(120)]
    items = {name: value_of(draw) for name in draw.sample(names, draw.choice((0, 1, 90)))}
    versions = [(made(path, items), items)]
    for most in (1, 5, 60, 120, 2):
        changes = {name: draw.choice((None, value_of(draw))) for name in draw.sample(names, most)}
        root, items = versions[-1]
        with path.open("ab") as file:
            root = change_tree(Appender(file), opened(path, root), changes)
        versions.append((root, {name: held for name, held in {**items, **changes}.items() if held is not None}))
    for root, items in versions:
        tree = opened(path, root)
        assert content(tree) == items
        assert list(content(tree)) == sorted(items)
        assert tree.get(names[::3]) == {name: items[name] for name in names[::3] if name in items}
        assert dict(tree.items("b", "d")).keys() == {name for name in items if name[0] in "bc"}
        assert all(tree.size(held) == len(items[name]) for name, held in tree.items("", "z"))


def test_every_changed_byte_is_told(tmp_path):
    path = tmp_path / "tree"
    items = {f"k{number:02}": value_of(random.Random(number)) for number in range(40)}
    root = made(path, items)
    data = path.read_bytes()
    for place in range(0, len(data), 7):
        path.write_bytes(data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :])
        with pytest.raises(FAULTS):
            content(opened(path, root))
    path.write_bytes(data[:-1])
    with pytest.raises(ValueError, match=r"."):
        content(opened(path, root))


def test_a_tree_that_shares_nodes_is_refused(tmp_path):
    # Thirty levels of two children each, all the same: a hostile file of 3 kB with a thousand million keys.
    path = tmp_path / "tree"
    with path.open("wb") as file:
        to = Appender(file)
        node = to.append(msgspec.msgpack.encode((["a"], [b"\0"])))
        for _ in range(30):
            refs = b"".join(Ref(*node)._asdict()[name].to_bytes(size, "little") for _ in "ab" for name, size in FIELDS)
            node = to.append(msgspec.msgpack.encode((["a", "b"], refs)))
    with pytest.raises(ValueError, match=r"."):
        content(opened(path, Root(node, 30)))
    with pytest.raises(ValueError, match=r"."):
        MerkleTree(opened(path, Root(node, 30))._file, Root(node, 10**9))


FIELDS = (("offset", 8), ("size", 4), ("checksum", 8))
