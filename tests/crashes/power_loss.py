"""What a loss of power leaves of a folder: only what was synced, of the calls that faults.c has recorded.

A file keeps the bytes of its last sync. A name is there, gone or another one's once its folder was synced; with
`renamed`, all names are as they were at the end, as on file systems that write them early, but bytes still are not.
"""

from __future__ import annotations

import shutil
import struct
from dataclasses import dataclass, field
from pathlib import Path

Call = tuple[str, str, int, bytes]
"""Letter, path, number, and data or another path; faults.c says which."""


@dataclass
class File:
    """Its bytes, and those of the last sync."""

    data: bytearray = field(default_factory=bytearray)
    synced: bytes = b""


@dataclass
class Folder:
    """What its names stand for, and did at the last sync."""

    names: dict[str, File | Folder] = field(default_factory=dict)
    synced: dict[str, File | Folder] = field(default_factory=dict)


def read_record(file: Path) -> list[Call]:
    """All calls in order."""
    held, at, calls = file.read_bytes(), 0, []
    while at < len(held):
        letter, number, path_size, size = held[at : at + 1].decode(), *struct.unpack_from("<qqq", held, at + 1)
        path = held[at + 25 : at + 25 + path_size].decode()
        at += 25 + path_size + size
        calls.append((letter, path, number, held[at - size : at]))
    return calls


def lose_power(base: Path, at: Path, calls: list[Call], *, renamed: bool) -> None:
    """Make `at` what it would be after these calls on a copy of `base`, and a loss of power."""
    root = _read(base)
    for letter, path, number, data in calls:
        if not path.endswith(" (deleted)"):
            _apply(root, letter, Path(path).relative_to(at).parts, number, data, at)
    shutil.rmtree(at, ignore_errors=True)
    _write(root, at, renamed)


def _read(path: Path) -> Folder:
    names: dict[str, File | Folder] = {}
    for item in path.iterdir():
        names[item.name] = _read(item) if item.is_dir() else File(bytearray(data := item.read_bytes()), data)
    return Folder(names, dict(names))


def _apply(root: Folder, letter: str, parts: tuple[str, ...], number: int, data: bytes, at: Path) -> None:
    if letter == "s" and not parts:
        root.synced = dict(root.names)
        return
    folder, name = _folder(root, parts), parts[-1]
    if letter in "cwtg" and not isinstance(folder.names.setdefault(name, File()), File):
        return
    held = folder.names.get(name)
    if letter == "d":
        folder.names[name] = Folder()
    elif letter == "u":
        folder.names.pop(name, None)
    elif letter in "rl" and held is not None:
        new = Path(data.decode()).relative_to(at).parts
        _folder(root, new).names[new[-1]] = folder.names.pop(name) if letter == "r" else held
    elif letter == "s" and isinstance(held, Folder):
        held.synced = dict(held.names)
    elif isinstance(held, File):
        _change(held, letter, number, data)


def _change(held: File, letter: str, number: int, data: bytes) -> None:
    if letter == "s":
        held.synced = bytes(held.data)
    elif letter == "w":
        held.data.extend(bytes(max(0, number - len(held.data))))
        held.data[number : number + len(data)] = data
    elif letter in "tg":
        held.data.extend(bytes(max(0, number - len(held.data))))
        if letter == "t":
            del held.data[number:]


def _folder(root: Folder, parts: tuple[str, ...]) -> Folder:
    for part in parts[:-1]:
        found = root.names[part]
        assert isinstance(found, Folder), parts
        root = found
    return root


def _write(held: Folder, path: Path, renamed: bool) -> None:
    path.mkdir()
    for name, one in (held.names if renamed else held.synced).items():
        if isinstance(one, Folder):
            _write(one, path / name, renamed)
        else:
            (path / name).write_bytes(one.synced)
