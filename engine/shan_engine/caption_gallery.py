"""A gallery of captions: encoded once, then searched for those that fit a photo.

    GALLERY/manifest.json                 kind "captions", bundle fingerprint, blocks with their files' checksums
    GALLERY/blocks/<name>/<array>.npy     the text encoder's arrays, captions x words x ..., see gallery_storage
    GALLERY/blocks/<name>/captions.jsonl  one caption a line: its place among all, id, text

A block holds captions of similar length, padded to its longest. All captions are scored with a photo, exactly.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from .bundle import Bundle
from .captions import CaptionTable
from .errors import GalleryError, InputError
from .fields import demand, digest, other_schema
from .files import NpyWriter, replacing, write_failure
from .gallery_manifest import CAPTIONS_KIND, MANIFEST, is_block_name
from .gallery_storage import GALLERY_DTYPES, Arrays, file_checksum, packed, unpacked
from .hits import WordRegion, explain_phrase
from .query_photo import QueryPhoto
from .score_job import read_captions
from .scoring import Scorer
from .text import Reading, tokenise

SCHEMA_VERSION = 1
BLOCK_CAPTIONS = 2048
SCORED_TOGETHER = 256
LOCK, LIST = "writer.lock", "captions.jsonl"
_MEND = "make the gallery again with `shan-engine index-captions`"


@dataclass(frozen=True)
class CaptionHit:
    """A caption that fits a photo; `step_scores` are the score's parts, `words` the regions its words look at."""

    rank: int
    score: float
    id: str
    caption: str
    step_scores: tuple[float, ...] = ()
    words: tuple[WordRegion, ...] = ()


@dataclass(frozen=True)
class CaptionHits:
    """The best captions for a photo, best first, of `captions` that were scored."""

    photo: Path
    hits: tuple[CaptionHit, ...]
    captions: int

    def __iter__(self) -> Iterator[CaptionHit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)


@dataclass(frozen=True)
class CaptionBlock:
    """A block in the manifest: how many captions it has, and the checksums of its files."""

    name: str
    captions: int
    files: dict[str, str]


class CaptionGallery:
    """An opened gallery of captions."""

    def __init__(self, path: Path, blocks: Sequence[CaptionBlock]) -> None:
        self.path, self.blocks = path, tuple(blocks)
        self._sound: set[Path] = set()

    @classmethod
    def open(cls, path: Path, bundle: Bundle) -> CaptionGallery:
        """Raises GalleryError where it is missing, damaged, of photos, or was not made by `bundle`."""
        data = _read_manifest(path)
        if data["fingerprint"] != bundle.manifest.fingerprint:
            raise GalleryError(
                f"the captions in {path} were encoded by bundle {data['fingerprint'][:12]}, not by {bundle.path} "
                f"({bundle.manifest.fingerprint[:12]}): name that one with --model, or {_MEND}"
            )
        return cls(path, [CaptionBlock(**block) for block in data["blocks"]])

    def __len__(self) -> int:
        return sum(block.captions for block in self.blocks)

    def arrays(self, block: CaptionBlock) -> dict[str, NDArray[Any]]:
        """A block's arrays as they are stored, by file name without its end, mapped."""
        found = {}
        for name in block.files:
            if name != LIST:
                path = self._checked(block, name)
                found[path.stem] = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        return found

    def listed(self, block: CaptionBlock) -> list[tuple[int, str, str]]:
        """Place among all captions, id and text of a block's captions."""
        lines = self._checked(block, LIST).read_text("utf-8").splitlines()
        return [tuple(json.loads(line)) for line in lines]

    def _checked(self, block: CaptionBlock, name: str) -> Path:
        path = self.path / "blocks" / block.name / name
        if path not in self._sound:
            try:
                held = file_checksum(path)
            except OSError as error:
                raise GalleryError(f"{path} is missing or cannot be read: {_MEND}") from error
            if held != block.files[name]:
                raise GalleryError(f"{path} is damaged, its bytes are not those that were written: {_MEND}")
            self._sound.add(path)
        return path


def index_captions(
    captions: Path,
    scorer: Scorer,
    output: Path,
    *,
    dtype: str = GALLERY_DTYPES[0],
    on_start: Callable[[int], None] = lambda total: None,
    on_captions: Callable[[int], None] = lambda done: None,
) -> int:
    """Encode a file of captions into the gallery `output`, in the place of one that is there; returns how many.

    A `.txt` has one caption a line, whose number is its id; another file or folder is read as `CaptionTable` does, ids
    are the image's with the number of its caption, as in `beach.jpg#0`. A run that is stopped leaves what was there.
    Raises InputError where the file or one of its captions cannot be used, before anything is written.
    """
    rows = _read(captions)
    tokens = []
    for id, text in rows:
        try:
            tokens.append(scorer.tokens(text))
        except InputError as error:
            raise InputError(f"caption {id} of {captions}: {error}") from error
    on_start(len(rows))
    _refuse_foreign(output)
    try:
        output.mkdir(parents=True, exist_ok=True)
        with FileLock(output / LOCK, timeout=0):
            held = (
                {block["name"] for block in _read_manifest(output)["blocks"]} if (output / MANIFEST).exists() else set()
            )
            _remove_all_but(output, held)
            blocks, order = [], np.argsort([len(words) for words in tokens], kind="stable").tolist()
            for start in range(0, len(order), BLOCK_CAPTIONS):
                places = order[start : start + BLOCK_CAPTIONS]
                encoded = scorer.encode_captions([tokens[place] for place in places])
                blocks.append(_write_block(output, encoded, [(place, *rows[place]) for place in places], dtype))
                on_captions(start + len(places))
            fields = {
                "kind": CAPTIONS_KIND,
                "version": SCHEMA_VERSION,
                "fingerprint": scorer.bundle.manifest.fingerprint,
                "blocks": [asdict(block) for block in blocks],
            }
            with replacing(output / MANIFEST) as temporary:
                temporary.write_text(json.dumps({**fields, "digest": digest(fields)}, indent=1) + "\n", "utf-8")
    except Timeout as error:
        raise GalleryError(f"another process is writing the gallery {output}: wait for it and run again") from error
    except OSError as error:
        raise GalleryError(write_failure(output, error)) from error
    return len(rows)


def search_captions(
    scorer: Scorer,
    gallery: CaptionGallery,
    photo: QueryPhoto,
    *,
    top_k: int = 10,
    explain: bool = True,
    on_captions: Callable[[int], None] = lambda done: None,
) -> CaptionHits:
    """The `top_k` captions with the best exact scores with a photo; of equal ones, the first in the file.

    Memory: a call's captions, and a score of each. Raises InputError for k below 1, GalleryError for a damaged file.
    """
    if top_k < 1:
        raise InputError(f"top-k is {top_k}: ask for at least 1")
    images, done = scorer.for_pairs(photo.images), 0
    best: list[tuple[float, int, int, int]] = []  # score below 0, place in the file, block, row
    for number, block in enumerate(gallery.blocks):
        arrays = gallery.arrays(block)
        scores = np.concatenate(
            [
                scorer.score_pairs(images, _rows(arrays, slice(start, start + SCORED_TOGETHER)))[0]
                for start in range(0, block.captions, SCORED_TOGETHER)
            ]
        )
        if not np.isfinite(scores).all():
            raise GalleryError(f"a caption of {gallery.path} has a NaN or infinite score: {_MEND}")
        # Of equal scores the first in the file is kept, so a block's are ranked with their places.
        places = np.array([place for place, _, _ in gallery.listed(block)])
        for row in np.lexsort((places, -scores))[:top_k].tolist():
            best.append((-float(scores[row]), int(places[row]), number, row))
        best = sorted(best)[:top_k]
        done += block.captions
        on_captions(done)
    complete = scorer.complete(photo.images) if explain else {}
    hits = []
    for rank, (score, _, number, row) in enumerate(best, 1):
        block = gallery.blocks[number]
        _, id, text = gallery.listed(block)[row]
        explained: tuple[tuple[float, ...], tuple[WordRegion, ...]] = ((), ())
        if explain:
            caption = _rows(gallery.arrays(block), slice(row, row + 1))
            reading = Reading(tuple(tokenise(text)), (), {}, ())
            explained = explain_phrase(scorer, reading, complete, caption, photo.boxes)
        hits.append(CaptionHit(rank, -score, id, text, *explained))
    return CaptionHits(photo.path, tuple(hits), len(gallery))


def _rows(arrays: Arrays, rows: slice) -> Arrays:
    return unpacked({name: array[rows] for name, array in arrays.items()})


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
    name = uuid.uuid4().hex[:12]
    folder = gallery / "blocks" / name
    folder.mkdir(parents=True)
    for array, values in encoded.items():
        for file, rows in packed(array, values, dtype).items():
            with NpyWriter(folder / f"{file}.npy", rows.shape, rows.dtype) as writer:
                writer.append(rows)
    with (folder / LIST).open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in listed)
    return CaptionBlock(name, len(listed), {path.name: file_checksum(path) for path in sorted(folder.iterdir())})


def _refuse_foreign(output: Path) -> None:
    """Raise InputError where `output` is there and is no gallery of captions."""
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file: choose a new folder for the captions")
    if (output / MANIFEST).exists():
        _read_manifest(output)
        return
    names = [path.name for path in output.iterdir()] if output.exists() else []
    foreign = [name for name in names if name not in (LOCK, "blocks") and not name.startswith(f".{MANIFEST}.")]
    if foreign:
        raise InputError(f"{output} is not empty, it holds '{min(foreign)}': choose a new or an empty folder")


def _remove_all_but(output: Path, names: set[str]) -> None:
    """Delete the blocks that no manifest names: of a run that was stopped, or replaced by the last one."""
    blocks = output / "blocks"
    for folder in blocks.iterdir() if blocks.is_dir() else ():
        if is_block_name(folder.name) and folder.name not in names:
            shutil.rmtree(folder, ignore_errors=True)


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    try:
        data = json.loads(file.read_text("utf-8"))
        demand(type(data) is dict and type(data.get("version")) is int, "it has no version")
        if data.get("kind") == CAPTIONS_KIND and data["version"] == SCHEMA_VERSION:
            demand(data.pop("digest", None) == digest(data), "its fields are not those that were written")
            return dict(data)
    except OSError as error:
        raise GalleryError(
            f"there is no gallery at {path}: make one of captions with `shan-engine index-captions`"
        ) from error
    except (ValueError, RecursionError) as error:
        raise GalleryError(f"{file} is damaged or not a gallery's ({error}): {_MEND}") from error
    if data.get("kind") != CAPTIONS_KIND:
        raise GalleryError(f"{path} is a gallery of photos, not of captions: choose another folder or gallery")
    raise GalleryError(f"the gallery {path} has {other_schema(data['version'], SCHEMA_VERSION, _MEND)}")


def holds_captions(path: Path) -> bool:
    """Whether a gallery says that it holds captions; False too where it cannot be read."""
    try:
        return bool(json.loads((path / MANIFEST).read_text("utf-8")).get("kind") == CAPTIONS_KIND)
    except (OSError, ValueError, AttributeError, RecursionError):
        return False
