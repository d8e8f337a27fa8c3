"""Write the metadata tables of blocks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import xxhash
from msgspec.structs import replace

from shan_engine.base.files import replacing
from shan_engine.base.metadata import Metadata
from shan_engine.gallery.block_files import METADATA
from shan_engine.gallery.filters import Listed, _table, metadata_name, rows_of
from shan_engine.gallery.manifest import GalleryManifest
from shan_engine.gallery.reader import Gallery


def write_table(folder: Path, listed: Iterable[Listed], metadata: Metadata) -> str:
    """Write a block's table into its folder and return the file's checksum. Raises OSError if a write fails."""
    with _table(listed, metadata) as connection:
        content = connection.serialize()
    with replacing(folder / metadata_name(metadata)) as temporary:
        temporary.write_bytes(content)
    return xxhash.xxh3_64_hexdigest(content)


def remove_other_tables(gallery: Path, manifest: GalleryManifest) -> None:
    """Delete the tables that no block of a manifest names."""
    for entry in manifest.blocks:
        for table in (gallery / "blocks" / entry.name).glob(f"*{METADATA}*"):
            if table.name not in entry.files:
                table.unlink(missing_ok=True)


def renew_tables(gallery: Path, manifest: GalleryManifest, metadata: Metadata | None) -> GalleryManifest:
    """Write the tables of this metadata that blocks lack, and return a manifest whose blocks name them.

    Files that it no longer names stay, for processes that read them now. Raises OSError where a write fails.
    """
    entries = []
    for entry, block in zip(manifest.blocks, Gallery(gallery, manifest).blocks, strict=True):
        files = {name: held for name, held in entry.files.items() if not name.startswith(METADATA)}
        if metadata is not None:
            name = metadata_name(metadata)
            files[name] = entry.files.get(name) or write_table(
                gallery / "blocks" / entry.name, rows_of(block), metadata
            )
        entries.append(replace(entry, files=files))
    return replace(manifest, blocks=tuple(entries))
