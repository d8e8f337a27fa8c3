"""Index a feature store into a gallery: encode new and changed images, drop those that are gone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from shan_engine.base.choices import GALLERY_DTYPES
from shan_engine.base.errors import GalleryError, InputError
from shan_engine.base.files import foreign_name, make_folder, write_failure
from shan_engine.base.locks import LOCK, hold_lock
from shan_engine.base.metadata import Metadata
from shan_engine.bundle.kept import drop_others, keep_bundle
from shan_engine.gallery.manifest import (
    MANIFEST,
    BlockEntry,
    GalleryManifest,
    check_same_bundle,
    is_block_name,
    is_gallery,
)
from shan_engine.gallery.pooled import FROM_IMAGES, has_pooled
from shan_engine.gallery.reader import Gallery
from shan_engine.gallery.storage import HUBNESS, NOT_ENCODED
from shan_engine.indexing.block_writer import write_block
from shan_engine.indexing.encoding import array_shapes, encoded
from shan_engine.indexing.pooled import add_pooled, remove_earlier
from shan_engine.indexing.querybank import FILE, ImageHubness, Querybank
from shan_engine.indexing.refusals import check_features, refuse_all_other
from shan_engine.indexing.tables import remove_other_tables, renew_tables
from shan_engine.indexing.written import remove_others, renew_written
from shan_engine.kernel.constants import KERNEL_CONSTANTS
from shan_engine.locate import KEPT, kept_bundle
from shan_engine.scoring.scorer import Scorer
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.records import RecordInfo

BLOCK_IMAGES = 2**14  # a search opens each file of each block, which takes 0.03 ms
JOINED_BELOW = 1024  # blocks with fewer images are encoded again, together with new ones


@dataclass(frozen=True)
class BlockSizes:
    """How many images a block takes, and from how many on a gallery is made ready for a search in stages."""

    images: int = BLOCK_IMAGES
    staged_from: int = FROM_IMAGES


DEFAULT_SIZES = BlockSizes()


@dataclass(frozen=True)
class IndexResult:
    """Numbers of images that a run handled; `columns` are those of the store's table."""

    added: int
    removed: int
    unchanged: int
    columns: tuple[str, ...] = ()


def index_store(
    store: FeatureStore,
    scorer: Scorer,
    output: Path,
    *,
    dtype: str | None = None,
    querybank: Querybank | None = None,
    hubness: ImageHubness | None = None,
    replace_all: bool = False,
    sizes: BlockSizes = DEFAULT_SIZES,
    on_start: Callable[[int], None] = lambda total: None,
    on_images: Callable[[int], None] = lambda done: None,
) -> IndexResult:
    """Create the gallery `output`, or bring it up to date with `store`.

    New and changed images are encoded, together with the images of blocks that are small or have lost most of theirs,
    so that blocks stay few and full. Each complete block is saved at once, so an interrupted run keeps it. The gallery
    then holds every image once; images not yet reached keep their old rows. The store's metadata are copied too; if
    only they changed, nothing is encoded. `dtype` is float32, float16 or int8; None keeps the gallery's, float32 for a
    new one. A `querybank` normalises a new gallery's scores by its captions, also for images added later; `hubness` is
    what the caller has measured images by before, with the same bank. `sizes` are those of blocks.

    Raises InputError if `output` is a folder of other files, the gallery has another `dtype` or querybank, the store is
    empty or does not fit the bundle, or, unless `replace_all`, the store has none of the gallery's images. Raises
    GalleryError if the gallery is damaged, belongs to another bundle or is being written.
    """
    check_features(store, scorer)
    if dtype not in (None, *GALLERY_DTYPES):
        raise InputError(f"a gallery cannot hold {dtype}: choose one of {', '.join(GALLERY_DTYPES)}")
    infos = store.infos()
    if not infos:
        raise InputError(f"the store {store.path} is empty: extract or import some images first")
    output = output.resolve()
    try:
        # Checked before locking too: the lock is a file, and a folder of other files must stay unchanged.
        _, bank = _settled(output, scorer, dtype, querybank)
        keep = kept_bundle(output, scorer.bundle.manifest.fingerprint)
        hubness = hubness or ImageHubness(scorer, bank, keep)
        make_folder(output)
        busy = GalleryError(f"another process is writing the gallery {output}: wait for it and run again")
        with hold_lock(output / LOCK, busy):
            manifest, bank = _settled(output, scorer, dtype, querybank)
            if hubness.bank != bank:
                hubness = ImageHubness(scorer, bank, keep)  # another process has begun the gallery meanwhile
            keep_bundle(output, scorer.bundle)
            if manifest is None:
                begun = GalleryManifest.load(output).dtype if is_gallery(output) else None  # by a stopped run
                manifest = _new_manifest(store, scorer, dtype or begun, infos)
                if bank:
                    manifest = replace(manifest, arrays={**manifest.arrays, HUBNESS: ()})
                    bank.save(output)
                manifest.save(output)  # from here on the folder is a gallery's: an interrupted run can resume
            wanted = {info.id: info.checksum for info in infos}
            if not replace_all:
                refuse_all_other(output, manifest, store, wanted)
            _remove_orphans(output, manifest)
            remove_earlier(output, manifest)
            drop_others(output, manifest.fingerprint)
            table = store.metadata()
            metadata = store.described()
            renewed = renew_tables(output, manifest, metadata)
            if renewed != manifest:
                renewed.save(output)
            update = _Update(output, renewed, wanted, metadata, sizes)
            return update.run(store, scorer, hubness, tuple(table.columns if table else ()), on_start, on_images)
    except OSError as error:
        raise GalleryError(write_failure(output, error)) from error


def _held_manifest(output: Path, scorer: Scorer, dtype: str | None) -> GalleryManifest | None:
    """The manifest of the gallery at `output`; None if there is nothing to keep yet."""
    if not is_gallery(output):
        if output.exists() and not output.is_dir():
            raise InputError(f"{output} is a file: choose a new folder for the gallery")
        # A run killed at its very beginning leaves the lock, a querybank, and half-written files.
        if foreign := foreign_name(output, (LOCK, FILE, MANIFEST, KEPT)):
            fault = f"{output} is not a gallery and is not empty, it holds '{foreign}'"
            raise InputError(f"{fault}: choose a new or an empty folder")
        return None
    manifest = GalleryManifest.load(output)
    if not manifest.blocks:
        return None
    check_same_bundle(output, manifest, scorer.bundle)
    if dtype not in (None, manifest.dtype):
        fault = f"the gallery {output} holds {manifest.dtype}, not {dtype}"
        raise InputError(f"{fault}: index with --storage {manifest.dtype}, or into a new gallery")
    return manifest


def _settled(
    output: Path, scorer: Scorer, dtype: str | None, asked: Querybank | None
) -> tuple[GalleryManifest | None, Querybank | None]:
    """The manifest of `_held_manifest` and the querybank of the gallery.

    The bank is the gallery's own; `asked`, if given, must equal it. A gallery without images takes `asked`, or else the
    bank that a stopped run began with.
    """
    manifest = _held_manifest(output, scorer, dtype)
    if manifest is None:
        bank = asked or (Querybank.load(output) if (output / FILE).exists() else None)
    else:
        bank = Querybank.of_gallery(Gallery(output, manifest))
        if asked not in (None, bank):
            raise InputError(
                f"the gallery {output} is {'normalised by another querybank' if bank else 'not normalised'}: "
                "leave --querybank out, or index into a new gallery"
            )
    return manifest, bank


def _new_manifest(store: FeatureStore, scorer: Scorer, dtype: str | None, infos: list[RecordInfo]) -> GalleryManifest:
    return GalleryManifest(
        scorer.bundle.manifest.fingerprint,
        store.schema.feature_extractor,
        dtype or GALLERY_DTYPES[0],
        array_shapes(scorer, infos),
    )


def _remove_orphans(output: Path, manifest: GalleryManifest) -> None:
    """Delete what earlier runs left unfinished or is not in the manifest: blocks, tables, indices of written words."""
    remove_others(output, manifest)
    remove_other_tables(output, manifest)
    names = {entry.name for entry in manifest.blocks}
    for folder in (output / "blocks").glob("*"):
        if is_block_name(folder.name) and folder.name not in names:
            shutil.rmtree(folder, ignore_errors=True)


class _Update:
    """A gallery being brought to the images `wanted` (id -> checksum), one saved manifest after another.

    In every saved manifest an image counts in exactly one row: its old row until the block with its new row is
    complete, then the new one.
    """

    def __init__(
        self,
        output: Path,
        manifest: GalleryManifest,
        wanted: Mapping[str, int],
        metadata: Metadata | None,
        sizes: BlockSizes,
    ) -> None:
        self._output, self._manifest, self._wanted, self._metadata = output, manifest, wanted, metadata
        self._saved = manifest
        self._sizes = sizes
        self._deleted = {entry.name: set(entry.deleted) for entry in manifest.blocks}
        # Block and row that an image leaves when it is re-encoded.
        self._leaves: dict[str, tuple[str, int]] = {}
        self._written: list[BlockEntry] = []
        self._removed = 0
        unchanged: set[str] = set()
        small: dict[str, tuple[str, int]] = {}
        for entry, block in zip(manifest.blocks, Gallery(output, manifest).blocks, strict=True):
            listed = block.checksums()
            rows = {id: (entry.name, int(row)) for row, (id, _) in zip(block.rows, listed, strict=True)}
            kept = {id for id, checksum in listed if wanted.get(id) == checksum}
            unchanged |= kept
            self._removed += len(rows) - len(kept)
            self._deleted[entry.name].update(row for id, (_, row) in rows.items() if id not in wanted)
            self._leaves.update({id: place for id, place in rows.items() if id in wanted and id not in kept})
            if len(kept) < max(min(JOINED_BELOW, sizes.images // 2), entry.images // 2):
                small.update({id: rows[id] for id in rows if id in kept})
        self._unchanged = len(unchanged)
        self._new = [id for id in wanted if id not in unchanged]
        # A small block with nothing to join stays as it is, unless it has deleted rows.
        self._refill = [id for id, (name, _) in small.items() if self._new or self._deleted[name]]
        self._leaves.update({id: small[id] for id in self._refill})

    def run(
        self,
        store: FeatureStore,
        scorer: Scorer,
        hubness: ImageHubness,
        columns: tuple[str, ...],
        on_start: Callable[[int], None],
        on_images: Callable[[int], None],
    ) -> IndexResult:
        """Encode new images, then those that fill up blocks and take their text with them; save after each block."""
        todo, moving = [*self._new, *self._refill], set(self._refill)
        if todo:
            self._check_arrays(scorer)
        # Only a model that the kernel scores is searched in stages.
        kernel = KERNEL_CONSTANTS in scorer.bundle.manifest.files
        pooled = kernel and (self._manifest.staged or len(self._wanted) >= self._sizes.staged_from)
        without = sum(entry.images for entry in self._manifest.blocks if pooled and not has_pooled(entry.files))
        on_start(len(todo) + without)
        for start in range(0, len(todo), self._sizes.images):
            ids = todo[start : start + self._sizes.images]

            def report(done: int, start: int = start) -> None:
                on_images(start + done)

            batches = encoded(
                store,
                scorer,
                ids,
                self._wanted,
                beside=self._output.parent,
                shapes=self._manifest.arrays,
                hubness=hubness,
                on_images=report,
            )
            entry = write_block(self._output, self._manifest, len(ids), batches, self._metadata, pooled=pooled)
            self._written.append(entry)
            for name, row in (self._leaves[id] for id in ids if id in self._leaves):
                self._deleted[name].add(row)
            self._save(store if start + len(ids) == len(todo) or not moving.isdisjoint(ids) else None)
        if not todo:
            self._save(store)
        if without:
            held = GalleryManifest.load(self._output)
            add_pooled(self._output, held, lambda done: on_images(len(todo) + done)).save(self._output)
        return IndexResult(len(self._new), self._removed, self._unchanged, columns)

    def _check_arrays(self, scorer: Scorer) -> None:
        """Raise GalleryError if the gallery's arrays are not those of the bundle."""
        arrays = {name: shape for name, shape in self._manifest.arrays.items() if name not in NOT_ENCODED}
        regions = arrays.get("region_mask", (0,))[0]
        if not regions or arrays != scorer.encoders.image_array_shapes(regions):
            raise GalleryError(
                f"{self._output / MANIFEST} is damaged (its arrays are not those of {scorer.bundle.path}): "
                "index the store into a new gallery"
            )

    def _save(self, store: FeatureStore | None) -> None:
        """Save the manifest; with a `store`, that of what is written in the images, too."""
        held = (replace(entry, deleted=tuple(sorted(self._deleted[entry.name]))) for entry in self._manifest.blocks)
        blocks = tuple(entry for entry in (*held, *self._written) if entry.live)
        before, manifest = self._saved, replace(self._saved, blocks=blocks)
        self._saved = renew_written(self._output, manifest, store) if store else manifest
        if self._saved != before:
            self._saved.save(self._output)
