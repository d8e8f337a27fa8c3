"""What a collection is: folders of photos, what is left out, and where its store and its gallery are."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from shan_engine.base.choices import StoreDtype
from shan_engine.base.errors import InputError, unread
from shan_engine.base.files import replacing

HEAD = """\
# A collection of shan-engine. Change it as you like, then run `{command}`.
# Keys: folders, exclude, store, gallery, storage, model, extractor, metadata, metadata_id_column,
# read_text; docs/collections.md explains them.

"""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The keys of a collection's file. Paths may begin with `~`, or are relative to the file's folder."""

    folders: Annotated[list[str], Meta(min_length=1)]
    store: str
    gallery: str
    exclude: list[str] = []
    storage: StoreDtype = "float16"
    model: str | None = None
    extractor: str | None = None
    metadata: str | None = None
    metadata_id_column: str | None = None
    read_text: bool = False


@dataclass(frozen=True, kw_only=True)
class Collection:
    """A collection as its file has it, with whole paths.

    `storage` is how a new store and a new gallery hold numbers. `model` is the bundle to use, None for the gallery's
    own, else SHAN_MODEL's or the demo's. `extractor` is None for the bundle's. `metadata` is a table of facts. With
    `read_text`, an update reads what is written in the photos.
    """

    name: str
    folders: tuple[Path, ...]
    store: Path
    gallery: Path
    exclude: tuple[str, ...] = ()
    storage: StoreDtype = "float16"
    model: Path | None = None
    extractor: Path | None = None
    metadata: Path | None = None
    metadata_id_column: str | None = None
    read_text: bool = False

    @classmethod
    def read(cls, file: Path, name: str) -> Collection:
        """The collection in a TOML file. Raises InputError where the file is missing or one of its keys is wrong."""
        try:
            text = file.read_bytes().decode()
            held = msgspec.convert(tomllib.loads(text), _File)
        except OSError as error:
            raise InputError(unread(file, error, f"there is no collection at {file}: `shan-engine init`")) from error
        except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, or other keys
            raise InputError(f"{file} is not a collection's file ({error}): correct it and run again") from error
        fields: dict[str, Any] = {
            key: _whole(file.parent, value) if key in _PATHS and value is not None else value
            for key, value in msgspec.structs.asdict(held).items()
        }
        folders = tuple(_whole(file.parent, folder) for folder in fields.pop("folders"))
        return cls(name=name, folders=folders, exclude=tuple(fields.pop("exclude")), **fields)

    def save(self, file: Path) -> None:
        """Write the TOML file: beside its place, then renamed. Raises InputError where that cannot be done."""
        import tomli_w  # only `init` writes

        paths: dict[str, Any] = {key: str(path) for key in _PATHS if (path := getattr(self, key)) is not None}
        held = _File(
            folders=[str(folder) for folder in self.folders],
            exclude=list(self.exclude),
            storage=self.storage,
            metadata_id_column=self.metadata_id_column,
            read_text=self.read_text,
            **paths,
        )
        try:
            text = HEAD.format(command=self.command("update")) + tomli_w.dumps(msgspec.to_builtins(held))
            data = text.encode()
        except (UnicodeEncodeError, msgspec.MsgspecError) as error:
            raise InputError("the name of a folder is not Unicode text: rename it") from error
        with replacing(file) as temporary:
            temporary.write_bytes(data)

    def command(self, verb: str) -> str:
        """The command line of `verb` for this collection."""
        return f"shan-engine {verb}" if self.name == DEFAULT else f"shan-engine {verb} {self.name}"


DEFAULT = "photos"
"""The name of a collection that is given none."""
_PATHS = ("store", "gallery", "model", "extractor", "metadata")


def _whole(folder: Path, path: str) -> Path:
    try:
        return folder / Path(path).expanduser()
    except RuntimeError as error:  # the home of somebody who is not known here
        raise InputError(
            f"the path {path} of a collection names a user who does not exist here: write the whole path"
        ) from error
