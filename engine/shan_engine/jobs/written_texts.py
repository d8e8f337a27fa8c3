"""The column `text` of a job's table: the lines of each photo where its query's words are written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shan_engine.gallery.blocks import Block
from shan_engine.gallery.images import Images
from shan_engine.parts.written import WrittenWords
from shan_engine.search.query import Query
from shan_engine.search.written_lines import lines_found


def texts_of(words: WrittenWords, images: Images, queries: Sequence[str], places: NDArray[np.int64]) -> list[str]:
    """For each pair of a query and the image at a place, the lines found, one below the other; perhaps empty."""
    found = [""] * len(places)
    held = {place: words.lines(*_row(images, place))[0] for place in np.unique(places).tolist()}
    by_query: dict[str, list[int]] = {}
    for pair, query in enumerate(queries):
        if held[int(places[pair])]:
            by_query.setdefault(query, []).append(pair)
    for query, pairs in by_query.items():
        photos = [held[int(places[pair])] for pair in pairs]
        for pair, lines in zip(pairs, lines_found(words, Query.of(query), photos), strict=True):
            found[pair] = "\n".join(line.text for line in lines)
    return found


def _row(images: Images, place: int) -> tuple[Block, NDArray[np.int64]]:
    number = int(np.searchsorted(images.ends, place, side="right"))
    block = images.blocks[number][1]
    at = place - (int(images.ends[number]) - len(block))
    return block, block.rows[at : at + 1]
