"""What bundles, galleries and stores write about themselves: one way to read it, check it and save it.

Each kind of manifest is a `Fields` class, which names the type of every field, and one `Format`, which says how the
file is read and which error a user sees. On disk a manifest is JSON, most with a SHA-256 digest of its other fields.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta

from shan_engine.base.errors import ShanError, unread
from shan_engine.base.files import replacing

Size = Annotated[int, Meta(gt=0, le=2**63 - 1)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Positive = Annotated[float, Meta(gt=0, le=sys.float_info.max)]
NotNegative = Annotated[float, Meta(ge=0, le=sys.float_info.max)]
Sha256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
_FILE_NAME = re.compile("[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_MESSAGE = re.compile(r"(.*) - at `\$\.?(.+)`")


class Fields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fields of one kind of manifest."""

    def validate(self) -> None:
        """What types cannot say of fields that were read. Raises ValueError with a clause that names the fault."""

    def as_dict(self) -> dict[str, Any]:
        """All fields by name, nested ones too, in the order in which they are written."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return fields


_F = TypeVar("_F", bound=Fields)


@dataclass(frozen=True, kw_only=True)
class Format(Generic[_F]):
    """How one kind of manifest is read and written, and what is said where it cannot be read.

    The sentences may name `{path}`, the file; `{place}`, what the user knows it by; and `damaged` the `{fault}` and the
    `{fix}`, which `fix` tells of the place. `remake` is the fix for an older one. `version` is None where the file has
    no schema version; versions from `oldest` on are read, None for `version` alone. `refuse` may raise for another kind
    of manifest.
    """

    fields: type[_F]
    error: type[ShanError]
    holder: str
    missing: str
    damaged: str
    remake: str
    version: int | None
    oldest: int | None = None
    signed: bool = True
    indent: int = 1
    refuse: Callable[[Mapping[str, Any], Path], None] = lambda fields, place: None
    fix: Callable[[Path], str] = lambda place: ""

    def read(self, path: Path, place: Path | None = None) -> _F:
        """The manifest in the file `path`; `place` is its folder where none is given.

        Raises `error` where the file is missing, damaged or of another schema.
        """
        place = path.parent if place is None else place
        try:
            text = path.read_bytes()
        except OSError as error:
            raise self.error(unread(path, error, self._say(self.missing, path, place))) from error
        return self.parse(text, path, place)

    def parse(self, text: bytes, path: Path, place: Path) -> _F:
        """As `read`, from a manifest's bytes."""
        try:
            held = json.loads(text.decode())
            demand(type(held) is dict, "it is not a JSON object")
            self.refuse(held, place)
            if self._is_own_version(held):
                return self._checked(held)
        except (ValueError, RecursionError) as error:
            raise self.error(self._say(self.damaged, path, place, _explain(error), self.fix(place))) from error
        version, own = held["version"], self.version or 0
        order, fix = ("older", self.remake) if version < own else ("newer", "upgrade shan-engine")
        raise self.error(self._say(f"{self.holder} has schema {version}, {order} than {own}: {fix}", path, place))

    def save(self, path: Path, manifest: _F) -> None:
        """Write the file, with a digest where the format is signed: beside its place, then renamed."""
        fields = manifest.as_dict()
        if self.signed:
            fields["digest"] = digest(fields)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(fields, indent=self.indent) + "\n", "utf-8")

    def _is_own_version(self, held: Mapping[str, Any]) -> bool:
        if self.version is None:
            return True
        version = held.get("version")
        if type(version) is not int or version < 1:
            raise ValueError("it has no version")
        return (self.oldest or self.version) <= version <= self.version

    def _checked(self, held: dict[str, Any]) -> _F:
        written = {name: value for name, value in held.items() if not (self.signed and name == "digest")}
        fields = msgspec.convert(written, self.fields)
        # Fields with a default must be there too.
        demand(json.loads(json.dumps(fields.as_dict())) == written, "it lacks some of its fields")
        fields.validate()
        if self.signed:
            demand("digest" in held, "it has no digest")
            demand(held["digest"] == digest(written), "its fields are not those that were written")
        return fields

    def _say(self, sentence: str, path: Path, place: Path, fault: str = "", fix: str = "") -> str:
        return sentence.format(path=path, place=place, fault=fault, fix=fix)


def demand(condition: bool, fault: str) -> None:
    """Raise ValueError with `fault`, a clause, unless the condition holds."""
    if not condition:
        raise ValueError(fault)


def is_file_name(name: str) -> bool:
    """Whether a name is plain, and short enough for a file's: joined to a folder, it does not lead out of it."""
    return _FILE_NAME.fullmatch(name) is not None


def digest(fields: Mapping[str, Any]) -> str:
    """Hex SHA-256 of fields as JSON: what a manifest says of itself, so that a changed byte is found."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _explain(error: ValueError | RecursionError) -> str:
    """A fault with its place first: `at blocks[0].images: expected int, got str`."""
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    found = _MESSAGE.fullmatch(str(error)) if isinstance(error, msgspec.ValidationError) else None
    return f"at {found[2]}: {found[1][0].lower()}{found[1][1:]}".replace("`", "") if found else str(error)
