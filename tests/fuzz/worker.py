"""Read changed files, one after the other, in a process that may end.

    python tests/fuzz/worker.py CORPUS SCRATCH READER SEED FIRST INPUTS SECONDS

Prints one line of JSON for each fault, and one at the end. `run.py` starts it, and starts it again after the input that
ended it, which lies in SCRATCH.
"""

from __future__ import annotations

import faulthandler
import json
import math
import os
import re
import resource
import shutil
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import IO, Any

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))

import own_home  # noqa: F401 before anything of the engine is imported
from mutations import changed, changed_json
from readers import Reader, Shared, find_reader
from shan_engine.base.errors import ShanError

GIGABYTE = 1 << 30
CHANGED = "changed"  # the file of a scratch folder that names the changed file
SIGNED_SHARE = 0.5


@dataclass
class Printed:
    """What goes to standard output and standard error, by whatever library: both lead to one file."""

    file: IO[bytes]

    @classmethod
    def caught(cls, scratch: Path) -> Printed:
        file = (scratch / "printed").open("w+b")
        sys.stdout.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        return cls(file)

    def take(self) -> str:
        sys.stdout.flush()
        sys.stderr.flush()
        size = os.fstat(self.file.fileno()).st_size
        if not size:
            return ""
        text = os.pread(self.file.fileno(), 300, 0).decode("utf-8", "replace")
        self.file.truncate(0)
        self.file.seek(0)
        return text


class Trial:
    """One reader over a copy of its valid files."""

    def __init__(self, reader: Reader, sound: Path, scratch: Path) -> None:
        self.reader, self.sound, self.tree, self.scratch = reader, sound, scratch / "tree", scratch
        self.names = sorted(
            str(path.relative_to(sound)) for path in sound.rglob("*") if path.is_file() and reader.changes(path)
        )
        self.content = {name: (sound / name).read_bytes() for name in self.names}
        self.right: dict[str, Any] = {}
        self.renew()

    def renew(self) -> None:
        shutil.rmtree(self.tree, ignore_errors=True)
        shutil.copytree(self.sound, self.tree, symlinks=True)

    def warm_up(self) -> None:
        """Read the valid files, which must be possible; what they give is the right answer."""
        for name in self.names:
            if self.reader.exact or not self.right:
                self.right[name] = self.reader.read(self.tree, self.tree / name)
                if self.reader.writes:
                    self.renew()

    def change(self, random: Random) -> tuple[str, bytes, bool]:
        """Which file to change, what to, and whether digests are made again."""
        name = random.choice(self.names)
        made = self.mutated(name, self.content[name], random)
        return name, made, self.reader.sign is not None and random.random() < SIGNED_SHARE

    def mutated(self, name: str, data: bytes, random: Random) -> bytes:
        """A file's bytes, changed."""
        made = changed_json(data, random) if _is_json(name) and random.random() < 0.6 else None
        if made is None:
            others = [self.content[other] for other in random.sample(self.names, min(2, len(self.names)))]
            made = changed(data, random, others, self.reader.tokens)
        return made

    def put(self, name: str, data: bytes, signed: bool) -> None:
        """Write a changed file, as a new one: the old may still be mapped."""
        (self.scratch / CHANGED).write_text(json.dumps({"name": name, "signed": signed}))
        path = self.tree / name
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        if signed and self.reader.sign is not None:
            self.reader.sign(self.tree, path)

    def restore(self, name: str, signed: bool) -> None:
        if self.reader.writes or signed:
            self.renew()
            return
        path = self.tree / name
        path.unlink(missing_ok=True)
        path.write_bytes(self.content[name])

    def fault(self, name: str, signed: bool) -> str:
        """What is wrong with how the reader takes the changed file; empty where nothing is."""
        try:
            found = self.reader.read(self.tree, self.tree / name)
        except ShanError as error:
            return "" if _is_sentence(str(error)) else f"no single sentence: {str(error)[:300]!r}"
        except MemoryError:
            return "memory beyond the bound"
        except Exception as error:
            return f"{_place(error)}: {type(error).__name__}: {str(error)[:200]}"
        if self.reader.exact and not signed and not _same(found, self.right[name]):
            return "another answer without a word"
        return ""


def _same(found: Any, wanted: Any) -> bool:
    return bool(found == wanted)


def _is_json(name: str) -> bool:
    return name.endswith((".json", ".jsonl"))


def _is_sentence(text: str) -> bool:
    return bool(text.strip()) and "\n" not in text and "allow_pickle" not in text and len(text) < 20_000


def _place(error: BaseException) -> str:
    """Where an exception came from: the last line of the project's own."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/shan_" in frame.filename] or frames
    return f"{'/'.join(Path(own[-1].filename).parts[-3:])}:{own[-1].lineno}"


def _bound_memory(megabytes: int) -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = used + max(4 * GIGABYTE, megabytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _memory() -> tuple[int, int]:
    """Peak and present resident memory in MiB."""
    held = dict(
        line.split(":", 1)
        for line in Path("/proc/self/status").read_text().splitlines()
        if "VmHWM" in line or "VmRSS" in line
    )
    return int(held["VmHWM"].split()[0]) >> 10, int(held["VmRSS"].split()[0]) >> 10


class Watch:
    """Ends the process, with the traceback in a log, if one input takes between `seconds` and twice that.

    To set an alarm for each input would start a thread each time.
    """

    def __init__(self, log: IO[str], seconds: float) -> None:
        self._log, self._seconds, self._set = log, seconds, -math.inf

    def look(self) -> None:
        """An input is about to be read."""
        if time.monotonic() - self._set > self._seconds:
            faulthandler.dump_traceback_later(2 * self._seconds, exit=True, file=self._log)
            self._set = time.monotonic()


def main(corpus: Path, scratch: Path, name: str, seed: str, first: int, inputs: int, seconds: float) -> None:
    """Try inputs number `first` to `inputs`, for at most `seconds`."""
    report = os.fdopen(os.dup(1), "w", buffering=1)
    log = (scratch / "ended").open("w")
    faulthandler.enable(log)
    reader = find_reader(name, Shared(corpus / "shared"))
    trial = Trial(reader, corpus / name, scratch)
    printed = Printed.caught(scratch)
    trial.warm_up()
    _bound_memory(reader.megabytes)
    printed.take()
    watch = Watch(log, 6 * reader.seconds)
    end, number = time.monotonic() + seconds, first
    while number < inputs and time.monotonic() < end:
        random = Random(f"{seed}/{name}/{number}")
        file, data, signed = trial.change(random)
        trial.put(file, data, signed)
        (scratch / "number").write_text(str(number))
        _forget_peak()
        before, began = _memory()[1], time.process_time()
        watch.look()
        fault = trial.fault(file, signed)
        took, more = time.process_time() - began, _memory()[0] - before
        if more > reader.megabytes:
            fault = fault or f"takes {more} MiB of memory"
        if took > reader.seconds:
            fault = fault or f"takes {took:.1f} s of a processor"
        said = printed.take()
        fault = fault or (said and not re.fullmatch(reader.prints, said) and f"prints {said!r}")
        if fault:
            report.write(json.dumps({"number": number, "fault": fault}) + "\n")
            if (reply := sys.stdin.readline()) != "\n":  # the parent has kept the input
                raise SystemExit(reply)
        trial.restore(file, signed)
        number += 1
    report.write(json.dumps({"number": number, "end": True}) + "\n")
    report.flush()
    os._exit(0)  # threads of libraries are not waited for


if __name__ == "__main__":
    corpus, scratch, name, seed, first, inputs, seconds = sys.argv[1:]
    main(Path(corpus), Path(scratch), name, seed, int(first), int(inputs), float(seconds))
