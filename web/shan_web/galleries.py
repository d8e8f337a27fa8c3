"""The galleries that are served: one engine each, taken up again when `index` has changed the gallery."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shan_engine import api
from shan_engine.base.choices import Backend, Device
from shan_engine.base.errors import InputError, ShanError
from shan_engine.caption_engine import CaptionEngine
from shan_engine.engine import Engine
from shan_engine.gallery.captions import holds_captions
from shan_engine.gallery.columns import ColumnFacts
from shan_engine.locate import locate_gallery
from shan_engine.shards.sharded import ShardedEngine

PhotoEngine = Engine | ShardedEngine
_LOOK_EVERY = 1.0  # seconds between two looks at a gallery's manifest


@dataclass
class Served:
    """A gallery under its name. `engine` is of photos or of captions."""

    name: str
    engine: PhotoEngine | CaptionEngine
    _looked: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _facts: tuple[object, list[ColumnFacts]] | None = None

    @property
    def kind(self) -> str:
        """`photos` or `captions`."""
        return "captions" if isinstance(self.engine, CaptionEngine) else "photos"

    def look(self) -> None:
        """Take up what has changed on disk, at most once a second. Raises GalleryError where it is gone or damaged."""
        with self._lock:
            if time.monotonic() - self._looked < _LOOK_EVERY:
                return
            self.engine.refresh()
            self._looked = time.monotonic()

    def problem(self) -> str:
        """Why the gallery cannot be searched now; empty where it can."""
        try:
            self.look()
        except ShanError as error:
            return str(error)
        return ""

    def photos(self) -> PhotoEngine:
        """The engine, up to date. Raises InputError where the gallery has captions."""
        if isinstance(self.engine, CaptionEngine):
            raise InputError(f"the gallery '{self.name}' holds captions: search it with a photo")
        self.look()
        return self.engine

    def captions(self) -> CaptionEngine:
        """The engine, up to date. Raises InputError where the gallery has photos."""
        if not isinstance(self.engine, CaptionEngine):
            raise InputError(f"the gallery '{self.name}' holds photos: search it with words")
        self.look()
        return self.engine

    def column_facts(self) -> list[ColumnFacts]:
        """What the columns hold, read once for each state of the gallery."""
        engine = self.photos()
        state = engine.state
        with self._lock:
            if self._facts is None or self._facts[0] is not state:
                self._facts = state, engine.column_facts
            return self._facts[1]


class Galleries:
    """Galleries by name, in the order in which they were named."""

    def __init__(self, served: Sequence[Served]) -> None:
        self._served = {one.name: one for one in served}

    @classmethod
    def open(
        cls,
        paths: Sequence[Path],
        model: Path | None = None,
        *,
        device: Device = "auto",
        backend: Backend = "auto",
        threads: int | None = None,
    ) -> Galleries:
        """Open galleries, each by its path or a collection's name; without any, the one that `api.open` opens.

        Raises ShanErrors as `api.open`.
        """
        served: list[Served] = []
        named: Sequence[Path | None] = paths or [None]
        for path in named:
            place = locate_gallery(path, model)
            engine: Engine | CaptionEngine
            if holds_captions(place.gallery):
                engine = api.open_captions(place.gallery, model, device=device, threads=threads)
            else:
                engine = api.open(place.gallery, model, device=device, backend=backend, threads=threads)
            name = place.name
            taken = {one.name for one in served}
            numbered = (f"{name}-{number}" for number in range(2, len(paths) + 2))
            served.append(Served(name if name not in taken else next(n for n in numbered if n not in taken), engine))
        return cls(served)

    @classmethod
    def of_shards(cls, engine: ShardedEngine) -> Galleries:
        """One gallery, in shards."""
        return cls([Served(engine.path.resolve().name.removesuffix(".gallery") or "gallery", engine)])

    def __iter__(self) -> Iterator[Served]:
        return iter(self._served.values())

    def get(self, name: str) -> Served:
        """A gallery, the first without a name. Raises InputError where there is none of this name."""
        if not name:
            return next(iter(self._served.values()))
        if name not in self._served:
            raise InputError(f"there is no gallery '{name}' here: choose one of {', '.join(self._served)}")
        return self._served[name]

    def close(self) -> None:
        """Give back everything that is loaded."""
        for one in self._served.values():
            one.engine.close()
