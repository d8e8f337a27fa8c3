"""`shan-engine init`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shan_cli.console import messages, print_json, say
from shan_cli.options import Exclude, Json, MetadataFile, MetadataIdColumn, ReadText, Verbose

if TYPE_CHECKING:
    from shan_engine.collections.settings import Collection
    from shan_engine.photos.find import FoundPhotos
    from shan_engine.updating.estimate import Estimate


def init(
    photos: Annotated[list[Path], typer.Argument(help="Folders of photos, with their subfolders.")],
    name: Annotated[str, typer.Option(help="The collection's name.")] = "photos",
    exclude: Exclude = None,
    model: Annotated[
        Path | None, typer.Option(help="Bundle to extract and encode with.", show_default="SHAN_MODEL, else the demo's")
    ] = None,
    extractor: Annotated[
        Path | None, typer.Option(help="Your own ONNX extractor, as for `extract`.", show_default="the bundle's")
    ] = None,
    store: Annotated[Path | None, typer.Option(help="Feature store.", show_default="in the user's data folder")] = None,
    gallery: Annotated[Path | None, typer.Option(help="Gallery.", show_default="in the user's data folder")] = None,
    metadata: MetadataFile = None,
    metadata_id_column: MetadataIdColumn = None,
    read_text: ReadText = False,
    replace: Annotated[bool, typer.Option("--replace", help="Write over the collection's settings.")] = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Remember folders of photos as a collection, for `update`, `watch` and `search`.

    Examples:

      shan-engine init ~/Pictures

      shan-engine init ~/Pictures /mnt/nas/photos --exclude "Screenshots/"

      shan-engine init ~/Work --name work

    It writes one small file, which you can edit, and says how long the first `update` takes. Photos stay as they are.
    """
    from shan_engine.base.errors import InputError
    from shan_engine.collections.named import collection_file, data_folder
    from shan_engine.collections.settings import Collection

    file = collection_file(name)
    if file.exists() and not replace:
        raise InputError(
            f"there is a collection '{name}' already: edit {file}, pass --replace, or give this one another --name"
        )
    data = data_folder(name) if store is None or gallery is None else Path()
    collection = Collection(
        name=name,
        folders=tuple(_whole(folder) for folder in photos),
        exclude=tuple(exclude or ()),
        store=_whole(store or data / "store"),
        gallery=_whole(gallery or data / "gallery"),
        model=model and _whole(model),
        extractor=extractor and _whole(extractor),
        metadata=metadata and _whole(metadata),
        metadata_id_column=metadata_id_column,
        read_text=read_text,
    )
    found, estimate = _examined(collection)
    collection.save(file)
    if json:
        print_json(
            {
                "collection": name,
                "file": str(file),
                "photos": len(found.photos),
                "passed_over": found.passed_over,
                "seconds": estimate and round(estimate.seconds),
                "bytes": estimate and estimate.bytes,
            }
        )
        return
    say(f"{file}: {len(found.photos):,} photos in {', '.join(map(str, collection.folders))}")
    if estimate:
        _say_estimate(estimate, collection)
    say(f"next: {collection.command('update')}")


def _whole(path: Path) -> Path:
    return path.absolute()


def _examined(collection: Collection) -> tuple[FoundPhotos, Estimate | None]:
    """The photos of a collection, and what its first update takes, unless it has a store already."""
    from shan_engine.photos.extractor import FeatureExtractor
    from shan_engine.photos.find import find_photos
    from shan_engine.store.lmdb import is_store
    from shan_engine.updating.estimate import estimated
    from shan_engine.updating.update import extractor_of, open_bundle

    from shan_cli.metadata import read_metadata
    from shan_cli.skipped import say_passed_over

    with messages.status("looking for photos"):
        found = find_photos(collection.folders, exclude=collection.exclude)
        bundle = open_bundle(collection)
        extractor = extractor_of(collection, bundle)
        read_metadata(collection.metadata, collection.metadata_id_column)
        estimate = None
        if not is_store(collection.store):
            itemsize = 2 if collection.storage == "float16" else 4
            estimate = estimated(found.photos, FeatureExtractor(extractor, "cpu"), itemsize, bundle)
    say_passed_over(found.passed_over)
    for sentence in found.unreadable:
        say(f"skipped: {sentence}")
    return found, estimate


def _say_estimate(estimate: Estimate, collection: Collection) -> None:
    from shan_engine.indexing.remake import duration
    from shan_engine.updating.space import space_for

    space = space_for(collection.store.parent, estimate.bytes)
    say(f"the first update takes about {duration(estimate.seconds)} and {space}")
