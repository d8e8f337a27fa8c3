"""Read what is written in the photos of a feature store, each photo once."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from shan_engine.base.errors import InputError
from shan_engine.base.text_lines import TextLine
from shan_engine.photos.text_reader import Reader, ReadPhoto
from shan_engine.store.feature_store import FeatureStore

_AHEAD = 2  # photos per thread that wait for one
_BATCH = 16  # photos that one transaction keeps
MEASURED = 8  # photos before the time that a photo takes is told
_Read = tuple[str, ReadPhoto | InputError]


@dataclass(frozen=True)
class ReadingResult:
    """What a run did: how many photos it read, how many of those have text, and in how many lines.

    `known` photos were read before. `broken` has one sentence for each photo that cannot be read; a later run tries it
    again. `damaged` has one for each photo that was read in part.
    """

    read: int
    with_text: int
    lines: int
    known: int
    broken: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()


def read_texts(
    store_path: Path,
    reader: Reader,
    *,
    workers: int = 2,
    on_start: Callable[[int], None] = lambda total: None,
    on_photo: Callable[[int], None] = lambda done: None,
    on_pace: Callable[[float], None] = lambda seconds: None,
) -> ReadingResult:
    """Read the photos of a store that were not read yet. Features that no photo is known of are passed over.

    What is read is committed every few photos, and when the run is interrupted. `on_start` hears how many photos there
    are to read, `on_photo` how many are done, `on_pace` once the seconds a photo, measured on the first ones. Raises
    StoreError if the store cannot be read or written.
    """
    with FeatureStore.open(store_path, readonly=False) as store:
        known = store.text_readers()
        paths = {info.id: Path(info.path) for info in store.infos() if info.path and info.id not in known}
        on_start(len(paths))
        broken: list[str] = []
        damaged: list[str] = []
        with_text = lines = done = 0
        pending: dict[str, tuple[TextLine, ...]] = {}
        began = time.monotonic()
        try:
            with closing(_in_order(paths, reader, workers)) as found:
                for id, read in found:
                    done += 1
                    if isinstance(read, InputError):
                        broken.append(str(read))
                    else:
                        pending[id] = read.lines
                        with_text, lines = with_text + bool(read.lines), lines + len(read.lines)
                        damaged += [read.damage] if read.damage else []
                    if len(pending) >= _BATCH:
                        store.put_text(pending, reader=reader.name)
                        pending = {}
                    on_photo(done)
                    if done == MEASURED:
                        on_pace((time.monotonic() - began) / done)
        finally:
            if pending:
                store.put_text(pending, reader=reader.name)
    return ReadingResult(done - len(broken), with_text, lines, len(known), tuple(broken), tuple(damaged))


def _in_order(paths: dict[str, Path], reader: Reader, workers: int) -> Generator[_Read, None, None]:
    """Each id with what was read of its photo, or why it could not be read."""
    with ThreadPoolExecutor(workers) as pool:
        queue = iter(paths.items())
        waiting: deque[tuple[str, Future[ReadPhoto]]] = deque()
        try:
            waiting.extend((id, pool.submit(reader, path)) for id, path in islice(queue, workers * _AHEAD))
            while waiting:
                id, read = waiting.popleft()
                try:
                    result: ReadPhoto | InputError = read.result()
                except InputError as error:
                    result = error
                waiting.extend((id, pool.submit(reader, path)) for id, path in islice(queue, 1))
                yield id, result
        finally:
            pool.shutdown(cancel_futures=True)
