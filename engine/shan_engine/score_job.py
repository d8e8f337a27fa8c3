"""Scoring a whole file of captions against a gallery, in memory that does not grow with the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from .errors import InputError
from .gallery import Gallery
from .scoring import Scorer, caption_batches, score_block
from .search import top_rows
from .writers.matrix_npy import score_matrix_writer
from .writers.top_k_parquet import import_pyarrow, top_k_writer

GROUP_CAPTIONS = 256
GROUP_BYTES = 256 * 2**20


def read_captions(path: Path) -> list[str]:
    """Captions of a UTF-8 text file, one a line.

    Raises InputError for a missing file, another encoding, an empty line before the last, or no captions.
    """
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror or error}; give a text file, one caption a line"
        ) from error
    # Not splitlines: it also splits at characters such as U+2028 that may stand inside a caption.
    lines = [line.strip() for line in text.rstrip().split("\n")]
    if lines == [""]:
        raise InputError(f"{path} has no captions: write one a line")
    for number, line in enumerate(lines, 1):
        if not line:
            raise InputError(f"{path}, line {number} is empty: remove it or write a caption there")
    return lines


def score_matrix(
    scorer: Scorer,
    gallery: Gallery,
    captions: Sequence[str],
    output: Path,
    *,
    on_pairs: Callable[[int], None] = lambda done: None,
) -> None:
    """Write the scores of every caption with every image as `.npy`, captions x images, float32, in input order.

    Memory: one group of captions by all images, at most 256 MiB unless a single row is larger.
    `on_pairs` hears how many pairs are done so far. Raises InputError for another suffix, no captions,
    an empty gallery, a caption the model cannot take, or a full disk.
    """
    _check(gallery, captions, output, ".npy")
    tokens = _tokens(scorer, captions)
    images = len(gallery)
    done = 0
    with score_matrix_writer(output, len(captions), images) as writer:
        for group in _groups(len(captions), max(1, GROUP_BYTES // (4 * images))):
            batches = list(caption_batches(tokens[group]))
            encoded = [scorer.encode_captions([tokens[group][i] for i in batch]) for batch in batches]
            rows = np.empty((group.stop - group.start, images), np.float32)
            offset = 0
            for block in gallery.blocks:
                for number, place, scores in score_block(scorer, gallery, block, encoded):
                    rows[batches[number], offset + place.start : offset + place.stop] = scores.T
                    done += scores.size
                    on_pairs(done)
                offset += len(block)
            writer.append(rows)


def score_top_k(
    scorer: Scorer,
    gallery: Gallery,
    captions: Sequence[str],
    output: Path,
    *,
    top_k: int,
    on_pairs: Callable[[int], None] = lambda done: None,
) -> None:
    """Write the `top_k` best images of each caption as `.parquet`: query, rank, image_id, score.

    Captions stay in input order, ranks ascend from 1. Memory: one group of captions by k images, and the
    gallery's ids. Raises InputError where pyarrow is missing, and as `score_matrix`; before any scoring.
    """
    _check(gallery, captions, output, ".parquet")
    if top_k < 1:
        raise InputError(f"top-k is {top_k}: ask for at least 1")
    import_pyarrow()
    tokens = _tokens(scorer, captions)
    ids = [image.id for image in gallery.images()]
    with top_k_writer(output) as writer:
        # A row of the table takes a score, a place and their merge's copies: about 64 bytes.
        for group in _groups(len(captions), max(1, GROUP_BYTES // (64 * min(top_k, len(gallery))))):
            size, before = group.stop - group.start, group.start * len(gallery)

            def report(images: int, size: int = size, before: int = before) -> None:
                on_pairs(before + images * size)

            scores, places = top_rows(scorer, gallery, tokens[group], top_k, report)
            writer.append(captions[group], ids, scores, places)


def _check(gallery: Gallery, captions: Sequence[str], output: Path, suffix: str) -> None:
    if output.suffix.lower() != suffix:
        raise InputError(f"{output} does not end in {suffix}: .npy holds a full matrix, .parquet the top-k")
    if not captions:
        raise InputError("no captions to score: give at least one")
    if not len(gallery):
        raise InputError(f"the gallery {gallery.path} is empty: index some images first")


def _tokens(scorer: Scorer, captions: Sequence[str]) -> list[list[int]]:
    """Word numbers of all captions, so that one that cannot be used is met before any is scored."""
    tokens = []
    for number, caption in enumerate(captions, 1):
        try:
            tokens.append(scorer.tokens(caption))
        except InputError as error:
            raise InputError(f"caption {number}: {error}") from error
    return tokens


def _groups(captions: int, most: int) -> Iterator[slice]:
    size = min(GROUP_CAPTIONS, most)
    for start in range(0, captions, size):
        yield slice(start, min(start + size, captions))
