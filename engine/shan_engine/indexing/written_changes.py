"""Append to an index of written words what has changed in some photos."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, pairwise

import msgspec
import numpy as np
import xxhash

from shan_engine.base.merkle_tree import Appender, change_tree
from shan_engine.gallery.written import WrittenFile
from shan_engine.gallery.written_format import (
    MOST_WORDS,
    RANGE_BITS,
    Lines,
    WordCounts,
    WrittenBlock,
    doc_key,
    looks_keys,
    place_key,
    unpacked_lines,
    written_name,
)
from shan_engine.text.written import words_of

_ROWS = (1 << RANGE_BITS) - 1
Change = tuple[bytes | None, bytes | None]
"""What was written in a photo, and what is, packed; None for nothing."""


@dataclass
class _Moves:
    """What changes in the places of a word in a range of docs: photos that leave it, ascending places that come."""

    gone: list[int] = field(default_factory=list)
    come: list[int] = field(default_factory=list)

    def applied(self, places: bytes) -> bytes | None:
        """The places after the change."""
        held = np.frombuffer(places, "<u4")
        kept = held[~np.isin(held >> 16, self.gone)]
        merged = np.sort(np.concatenate([kept, np.array(self.come, "<u4")]))
        return merged.tobytes() or None


def words_in(lines: Lines) -> list[str]:
    """A photo's words in order, as many as an index takes."""
    return list(islice((word for line in lines for word in words_of(line.text)), MOST_WORDS))


def append_changes(
    held: WrittenFile,
    docs: Mapping[int, Change],
    *,
    photos: int,
    texts: int,
    end: int,
    blocks: Mapping[str, WrittenBlock],
) -> str:
    """Append what has changed in the photos `docs`, and return the manifest's name of the new version.

    The gallery now has these `blocks`, their docs up to `end`, and `photos`, of which `texts` have text. Raises OSError
    where a write fails, GalleryError where the index is damaged.
    """
    facts = held.facts
    with held.path.open("ab") as file:
        to = Appender(file)
        with held.guarded():
            root = change_tree(to, held.tree, _changes(held, docs))
        stamp = xxhash.xxh3_64_hexdigest(f"{facts.stamp} {to.state.hexdigest()} {photos}".encode())
        run = (to.start, to.end - to.start, to.state.intdigest())
        renewed = msgspec.structs.replace(
            facts,
            stamp=stamp,
            counted=stamp,
            photos=photos,
            docs=end,
            texts=texts,
            runs=[*facts.runs, run] if run[1] else facts.runs,
            root=(root.node, root.depth),
            blocks=dict(blocks),
        )
        ref = to.append(msgspec.msgpack.encode(renewed))
        file.flush()
        os.fsync(file.fileno())
    return written_name(held.name, ref)


def _changes(held: WrittenFile, docs: Mapping[int, Change]) -> dict[str, bytes | None]:
    """New values by key."""
    words = {doc: (_words(old), _words(new)) for doc, (old, new) in sorted(docs.items())}
    every = {word for both in words.values() for one in both for word in one}
    known = {key[1:]: WordCounts.unpacked(value) for key, value in held.tree.get(f"w{word}" for word in every).items()}
    common = {word for word, counts in known.items() if counts.common}
    photos, places, moves = Counter[str](), Counter[str](), defaultdict[str, _Moves](_Moves)
    for doc, (old, new) in words.items():
        photos.subtract(set(old))
        photos.update(set(new))
        places.subtract(old)
        places.update(new)
        row = doc & _ROWS
        for _, key in _keys(old, doc, common):
            moves[key].gone.append(row)
        for place, key in _keys(new, doc, common):
            moves[key].come.append(row << 16 | place)
    changes: dict[str, bytes | None] = {doc_key(doc): new for doc, (_, new) in docs.items()}
    there = held.tree.get(moves)
    changes |= {key: move.applied(there.get(key, b"")) for key, move in moves.items()}
    for word in every:
        before = known.get(word, WordCounts(0, 0, False))
        now = WordCounts(before.photos + photos[word], before.places + places[word], before.common)
        changes[f"w{word}"] = now.packed() if now.photos else None
        if (before.photos > 0) != (now.photos > 0):
            changes |= dict.fromkeys(looks_keys(word), b"" if now.photos else None)
    return changes


def _words(packed: bytes | None) -> list[str]:
    return words_in(unpacked_lines(packed)) if packed is not None else []


def _keys(words: list[str], doc: int, common: set[str]) -> Iterator[tuple[int, str]]:
    """Place and key of each word of a photo, and of each two common ones that follow each other."""
    docs = doc >> RANGE_BITS
    for place, word in enumerate(words):
        yield place, place_key((word,), docs)
    for place, both in enumerate(pairwise(words)):
        if both[0] in common and both[1] in common:
            yield place, place_key(both, docs)
