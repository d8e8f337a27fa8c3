"""Find the collection that a command means, by its name or without one.

    CONFIG/collections/<name>.toml   the collection's file
    DATA/<name>/store, gallery       where `init` puts its store and its gallery

CONFIG and DATA are the user's folders as platformdirs knows them: on Linux ~/.config/shan-engine and
~/.local/share/shan-engine, or those below XDG_CONFIG_HOME and XDG_DATA_HOME.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from shan_engine.base.errors import InputError
from shan_engine.collections.settings import DEFAULT, Collection

DEMO = "demo"
"""The name of the bundled demo's gallery, which no collection may have."""
_APP = "shan-engine"
_NAME = re.compile(r"[\w][\w.-]{0,63}")


def collection_file(name: str) -> Path:
    """Where the collection's file is. Raises InputError for a name that cannot be one, or if there is no home."""
    if not _NAME.fullmatch(name) or name == DEMO:
        raise InputError(f"'{name}' cannot be a collection's name: use letters, digits, - and _, and not '{DEMO}'")
    return _folder() / f"{name}.toml"


def data_folder(name: str) -> Path:
    """Where a new collection's store and gallery go by default. Raises InputError if there is no home."""
    from platformdirs import user_data_path

    return _absolute(user_data_path, "XDG_DATA_HOME") / name


def collection_names() -> list[str]:
    """The names of all collections, sorted; none where there is no home or its folder cannot be read."""
    try:
        files = sorted(_folder().glob("*.toml"))
    except (OSError, InputError):
        return []
    return [file.stem for file in files if _NAME.fullmatch(file.stem)]


def find_collection(name: str | None) -> Collection | None:
    """The collection of that name; without one the only collection, or the one named `photos`.

    None where there is none and no name is given. Raises InputError for an unknown name, several collections of which
    none is named `photos`, or a file that is no collection's.
    """
    names = collection_names()
    if name is None:
        if not names:
            return None
        if len(names) > 1 and DEFAULT not in names:
            raise InputError(f"there are {len(names)} collections: name one of {', '.join(names)}")
        name = DEFAULT if DEFAULT in names else names[0]
    file = collection_file(name)
    if name not in names:
        known = f"there are {', '.join(names)}" if names else "make one with `shan-engine init PHOTOS`"
        raise InputError(f"there is no collection '{name}': {known}")
    return Collection.read(file, name)


def need_collection(name: str | None) -> Collection:
    """As `find_collection`, but raises InputError where there is none."""
    collection = find_collection(name)
    if collection is None:
        raise InputError("there is no collection yet: make one with `shan-engine init PHOTOS`")
    return collection


def galleries_of(store: Path) -> list[Path]:
    """The galleries of collections with this store."""
    return [one.gallery for one in all_collections() if one.store.resolve() == store.resolve()]


def store_of(gallery: Path) -> Path | None:
    """The store that a collection's gallery was made of; None for a gallery of no collection."""
    return next((one.store for one in all_collections() if one.gallery.resolve() == gallery.resolve()), None)


def all_collections() -> Iterator[Collection]:
    """All collections in the order of their names. Files that are no collection's are passed over."""
    for name in collection_names():
        try:
            yield Collection.read(collection_file(name), name)
        except InputError:
            continue


def _folder() -> Path:
    from platformdirs import user_config_path

    return _absolute(user_config_path, "XDG_CONFIG_HOME") / "collections"


def _absolute(locate: Callable[..., Path], variable: str) -> Path:
    try:
        folder = locate(_APP, appauthor=False)
    except RuntimeError:
        folder = Path()
    if not folder.is_absolute():  # HOME is not set, and the user is unknown: older versions leave `~` as it is
        raise InputError(f"there is no home folder for collections: set HOME or {variable}")
    return folder
