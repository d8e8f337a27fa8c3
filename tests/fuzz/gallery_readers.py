"""Readers of galleries, of photos and of captions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from made_readers import ASKED, Made, copy_into, is_data, sign_manifest
from reader import Reader, Shared
from resigned import sign_again, sign_fields
from shan_engine.gallery.storage import file_checksum
from signed_words import sign_written
from tiny import CAPTIONS


def _hits(found: Any) -> list[Any]:
    return [(str(hit.image.id), hit.image.path, float(hit.score).hex(), hit.words) for hit in found.hits]


def make_gallery(shared: Shared) -> Made:
    def make(folder: Path) -> None:
        """Searched in stages, normalised, with metadata, written words and a deleted row."""
        from shan_engine.base.metadata import Metadata
        from shan_engine.indexing.images import index_store
        from shan_engine.indexing.querybank import Querybank
        from shan_engine.store.feature_store import FeatureStore
        from written_photos import SIZES

        copy_into(shared.store, folder / "store")
        with FeatureStore.open(folder / "store", readonly=False) as store:
            store.put_metadata(Metadata({"year": "INTEGER"}, {id: (1990 + len(id),) for id in store.ids()}))
            index_store(store, shared.scorer, folder / "gallery", sizes=SIZES, querybank=Querybank.of(ASKED))
            store.delete(["photo7"])
            index_store(store, shared.scorer, folder / "gallery", sizes=SIZES)
        shutil.rmtree(folder / "store")

    return make


def read_gallery(shared: Shared) -> Callable[[Path, Path], Any]:
    def read(folder: Path, path: Path) -> Any:
        """A search in stages and one of all photos, a filter, the list, and what the page shows."""
        from shan_engine.api import Engine
        from shan_engine.gallery.reader import Gallery
        from shan_engine.search.answer import search
        from shan_engine.search.tuning import StageWidths

        gallery = Gallery.open(folder / "gallery", shared.scorer.bundle)
        engine = Engine(shared.scorer, gallery)
        staged = search(
            shared.scorer, gallery, [*ASKED, "budget 2024"], top_k=5, widths=StageWidths(60, 20), cascade_from=1
        )
        few = search(shared.scorer, gallery, ASKED[:1], top_k=3, where="year > 1995", exhaustive=True, grouped=True)
        whole = search(shared.scorer, gallery, ASKED[:1], top_k=200, exhaustive=True, explain=False)
        browsed = [hit.image.id for hit in engine.browse(top_k=3)]
        facts = engine.columns, [str(column) for column in engine.column_facts]
        return (
            [_hits(one) for one in (*staged, *few, *whole)],
            browsed,
            facts,
            [(id, gallery.place(id)) for id in gallery.ids()],
        )

    return read


def sign_gallery(folder: Path, path: Path) -> None:
    """All checksums as a hostile author would write them; those of rows, too, where arrays still are arrays."""
    gallery = folder / "gallery"
    if path.name == "manifest.json":
        sign_manifest(path)
        return
    try:
        sign_again(gallery)
    except Exception:  # NumPy no longer reads an array: the file's own checksum is all there is to sign
        _sign_files(gallery)
    if path.name.startswith("written-"):
        sign_written(gallery, path)


def _sign_files(gallery: Path) -> None:
    """Checksums of all files of blocks, and that of the manifest."""
    manifest = json.loads((gallery / "manifest.json").read_text("utf-8"))
    for block in manifest["blocks"]:
        block["files"] = {name: file_checksum(gallery / "blocks" / block["name"] / name) for name in block["files"]}
    sign_fields(gallery / "manifest.json", **manifest)


def make_captions(shared: Shared) -> Made:
    def make(folder: Path) -> None:
        from shan_engine.indexing.captions import index_captions

        (folder / "captions.txt").write_text("\n".join([*CAPTIONS, *ASKED]), "utf-8")
        index_captions(folder / "captions.txt", shared.scorer, folder / "gallery")
        (folder / "captions.txt").unlink()

    return make


def read_captions(shared: Shared) -> Callable[[Path, Path], Any]:
    def read(folder: Path, path: Path) -> Any:
        from shan_engine.gallery.captions import CaptionGallery
        from shan_engine.search.captions import search_captions
        from shan_engine.search.photo_query import QueryPhoto

        encoders = shared.scorer.encoders
        regions = np.random.default_rng(1).random((1, 3, 24)).astype(np.float32)
        arrays = encoders.encode_images(regions, np.ones((1, 3), np.bool_))
        photo = QueryPhoto(Path("a.jpg"), arrays, np.zeros((3, 4), np.float32))
        gallery = CaptionGallery.open(folder / "gallery", shared.scorer.bundle)
        found = search_captions(shared.scorer, gallery, photo, top_k=20)
        return len(gallery), [(hit.id, hit.caption, float(hit.score).hex(), hit.words) for hit in found]

    return read


def sign_captions(folder: Path, path: Path) -> None:
    gallery = folder / "gallery"
    if path.name == "manifest.json":
        sign_manifest(path)
        return
    _sign_files(gallery)


def gallery_readers(shared: Shared) -> list[Reader]:
    return [
        Reader(
            name="gallery",
            make=make_gallery(shared),
            read=read_gallery(shared),
            changes=is_data,
            exact=True,
            sign=sign_gallery,
        ),
        Reader(
            name="captions-gallery",
            make=make_captions(shared),
            read=read_captions(shared),
            changes=is_data,
            exact=True,
            sign=sign_captions,
        ),
    ]
