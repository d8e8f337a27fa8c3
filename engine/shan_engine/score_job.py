"""Scoring a whole file of captions against a gallery, in memory that does not grow with the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from .errors import InputError
from .gallery import Gallery
from .scoring import Scorer, score_groups
from .search import top_rows
from .writers.matrix_npy import score_matrix_writer
from .writers.top_k_parquet import import_pyarrow, top_k_writer


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

    The ids of its columns go beside it, into `<output without .npy>.ids.txt`. Memory: one group of captions by
    all images, at most 256 MiB unless a single row is larger.
    `on_pairs` hears how many pairs are done so far. Raises InputError for another suffix, no captions,
    an empty gallery, a caption the model cannot take, or a full disk.
    """
    _check(gallery, captions, output, ".npy")
    tokens = _tokens(scorer, captions)
    images = len(gallery)
    with score_matrix_writer(output, len(captions), gallery.ids()) as writer:
        for group, found in score_groups(scorer, gallery, tokens, 4 * images, on_pairs):
            matrix = np.empty((group.stop - group.start, images), np.float32)
            for rows, columns, scores in found:
                matrix[rows, columns] = scores.T
            writer.append(matrix)


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
    ids = gallery.ids()
    with top_k_writer(output) as writer:
        for group, scores, places in top_rows(scorer, gallery, tokens, top_k, on_pairs):
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
