"""Encode a file of captions into a caption gallery."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from shan_engine.base.choices import GALLERY_DTYPES
from shan_engine.base.errors import GalleryError, InputError
from shan_engine.base.files import foreign_name, make_folder, write_failure
from shan_engine.base.locks import LOCK, hold_lock
from shan_engine.base.packing import Arrays
from shan_engine.bundle.kept import drop_others, keep_bundle
from shan_engine.gallery.captions import LIST, SCHEMA_VERSION, CaptionBlock, CaptionManifest
from shan_engine.gallery.manifest import MANIFEST, is_block_name
from shan_engine.gallery.storage import packed
from shan_engine.indexing.block_writer import new_block
from shan_engine.locate import KEPT
from shan_engine.scoring.scorer import Scorer
from shan_engine.text.captions import CaptionTable
from shan_engine.text.query_files import read_captions

BLOCK_CAPTIONS = 2048
BLOCK_WORDS = 32 * 1024  # with padding; a block is encoded at once


def index_captions(
    captions: Path,
    scorer: Scorer,
    output: Path,
    *,
    dtype: str = GALLERY_DTYPES[0],
    on_start: Callable[[int], None] = lambda total: None,
    on_captions: Callable[[int], None] = lambda done: None,
) -> int:
    """Encode a file of captions into the gallery `output`, replacing an existing one; return their number.

    A `.txt` has one caption per line; the line number is the id. `CaptionTable` reads any other file or folder; its
    ids are the image's with the caption's number, as in `beach.jpg#0`. A stopped run leaves the old gallery.
    Raises InputError, before anything is written, if the file or one of its captions cannot be used.
    """
    rows = _read(captions)
    tokens = []
    for id, text in rows:
        try:
            tokens.append(scorer.encoders.tokens(text))
        except InputError as error:
            raise InputError(f"caption {id} of {captions}: {error}") from error
    on_start(len(rows))
    _refuse_foreign(output)
    _replace(output, scorer, rows, tokens, dtype, on_captions)
    return len(rows)


def rewrite_captions(
    gallery: Path, scorer: Scorer, rows: Sequence[tuple[str, str]], dtype: str, on_captions: Callable[[int], None]
) -> None:
    """Encode captions, id and text of each, in place of all that a gallery holds, also where its manifest is lost."""
    _replace(gallery, scorer, rows, [scorer.encoders.tokens(text) for _, text in rows], dtype, on_captions)


def _replace(
    output: Path,
    scorer: Scorer,
    rows: Sequence[tuple[str, str]],
    tokens: Sequence[Sequence[int]],
    dtype: str,
    on_captions: Callable[[int], None],
) -> None:
    try:
        make_folder(output)
        busy = GalleryError(f"another process is writing the gallery {output}: wait for it and run again")
        with hold_lock(output / LOCK, busy):
            held = _held_blocks(output)
            _remove_all_but(output, held)
            keep_bundle(output, scorer.bundle)
            try:
                _write(output, scorer, rows, tokens, dtype, on_captions)
            except BaseException:
                _remove_all_but(output, held)
                raise
            drop_others(output, scorer.bundle.manifest.fingerprint)
    except OSError as error:
        raise GalleryError(write_failure(output, error)) from error


def _held_blocks(output: Path) -> set[str]:
    """Names of the blocks that the manifest names; of all blocks where it is lost."""
    if not (output / MANIFEST).exists():
        return set()
    try:
        return {block.name for block in CaptionManifest.load(output).blocks}
    except GalleryError:
        return {folder.name for folder in (output / "blocks").glob("*")}


def _write(
    output: Path,
    scorer: Scorer,
    rows: Sequence[tuple[str, str]],
    tokens: Sequence[Sequence[int]],
    dtype: str,
    on_captions: Callable[[int], None],
) -> None:
    """Write new blocks, then a manifest that names them."""
    blocks, start = [], 0
    order = sorted(range(len(tokens)), key=lambda place: len(tokens[place]))
    while start < len(order):
        stop = start + 1
        while stop < len(order) and stop - start < BLOCK_CAPTIONS:
            if (stop + 1 - start) * len(tokens[order[stop]]) > BLOCK_WORDS:
                break
            stop += 1
        places = order[start:stop]
        encoded = scorer.encoders.encode_captions([tokens[place] for place in places])
        blocks.append(_write_block(output, encoded, [(place, *rows[place]) for place in places], dtype))
        on_captions(stop)
        start = stop
    CaptionManifest("captions", SCHEMA_VERSION, scorer.bundle.manifest.fingerprint, tuple(blocks)).save(output)


def _read(path: Path) -> list[tuple[str, str]]:
    """Id and text of every caption."""
    if path.suffix.lower() == ".txt":
        return [(str(number), text) for number, text in enumerate(read_captions(path), 1)]
    seen: dict[str, int] = {}
    rows = []
    for _, image, text in CaptionTable.read(path).rows:
        seen[image] = seen.get(image, -1) + 1
        rows.append((f"{image}#{seen[image]}", text))
    if not rows:
        raise InputError(f"{path} has no captions: give at least one")
    return rows


def _write_block(gallery: Path, encoded: Arrays, listed: Sequence[tuple[int, str, str]], dtype: str) -> CaptionBlock:
    with new_block(gallery, len(listed), LIST) as block:
        for array, values in encoded.items():
            block.append(packed(array, values, dtype), ())
        block.append({}, listed)
        return CaptionBlock(block.name, len(listed), block.checksums(sorted(block.finish())))


def _refuse_foreign(output: Path) -> None:
    """Raise InputError if `output` exists and is not a caption gallery."""
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file: choose a new folder for the captions")
    if (output / MANIFEST).exists():
        CaptionManifest.load(output)
    elif foreign := foreign_name(output, (LOCK, MANIFEST, "blocks", KEPT)):
        raise InputError(f"{output} is not empty, it holds '{foreign}': choose a new or an empty folder")


def _remove_all_but(output: Path, names: set[str]) -> None:
    """Delete the blocks that no manifest names: those of a stopped run, or replaced by the last one."""
    blocks = output / "blocks"
    for folder in blocks.iterdir() if blocks.is_dir() else ():
        if is_block_name(folder.name) and folder.name not in names:
            shutil.rmtree(folder, ignore_errors=True)
