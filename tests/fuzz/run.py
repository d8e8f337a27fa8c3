"""Fuzz every reader: read files with random changes, and tell what is not an answer or one sentence.

    python tests/fuzz/run.py --seconds 600 --seed 1          # all readers, together ten minutes
    python tests/fuzz/run.py --only npy --only csv --inputs 1000
    python tests/fuzz/run.py --again build/fuzz/faults/npy-1a2b3c4d   # read one failing input again

Writes a corpus of valid files, and keeps each failing input under `build/fuzz/faults` with the fault.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE))

BUILD = HERE.parent.parent / "build" / "fuzz"
MOST_OF_A_KIND = 3  # inputs that are kept for one fault
MEMORY = Path("/dev/shm")
SOUND, FAULT, CHANGED = "sound", "fault.json", "changed"


@dataclass
class Outcome:
    """What came of a reader: inputs tried, and how often each fault was met."""

    name: str
    inputs: int = 0
    faults: Counter[str] = field(default_factory=Counter)


def kind_of(fault: str) -> str:
    """A fault without the numbers and names that differ between inputs."""
    return re.sub(r"0x[0-9a-f]+|\d+", "#", fault)[:60]


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for files that are written over and over, in memory if there is such a place."""
    with tempfile.TemporaryDirectory(prefix="shan-fuzz-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield Path(folder)


def fuzz(name: str, corpus: Path, *, seed: str, inputs: int, seconds: float, faults: Path) -> Outcome:
    """Try a reader, in one process after another where an input ends the process."""
    outcome, end = Outcome(name), time.monotonic() + seconds
    with scratch_folder() as scratch:
        while outcome.inputs < inputs and time.monotonic() < end:
            _work(outcome, corpus, scratch, faults, seed, inputs, end)
    return outcome


def _work(outcome: Outcome, corpus: Path, scratch: Path, faults: Path, seed: str, inputs: int, end: float) -> None:
    """One process over the inputs that are left."""
    (scratch / "number").unlink(missing_ok=True)
    left = max(1.0, end - time.monotonic())
    asked = [corpus, scratch, outcome.name, seed, outcome.inputs, inputs, left]
    worker = subprocess.Popen(
        [sys.executable, HERE / "worker.py", *map(str, asked)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert worker.stdin
    assert worker.stdout
    assert worker.stderr
    with worker:
        for line in worker.stdout:
            told = json.loads(line)
            outcome.inputs = told["number"] + (0 if "end" in told else 1)
            if "end" in told:
                return
            _keep(outcome, told["fault"], corpus, scratch, faults)
            worker.stdin.write("\n")
            worker.stdin.flush()
        worker.wait()
        number = scratch / "number"
        if not number.exists():
            said = worker.stderr.read() + (scratch / "printed").read_text("utf-8", "replace")
            raise SystemExit(f"{outcome.name}: its valid files cannot be read:\n{said}")
        outcome.inputs = int(number.read_text()) + 1
        place = _where((scratch / "ended").read_text())
        _keep(outcome, f"the process ends ({worker.returncode}) {place}", corpus, scratch, faults)


def _where(traceback: str) -> str:
    """The project's own line that a process ended in."""
    own = [line.strip() for line in traceback.splitlines() if "/shan_" in line]
    cause = traceback.splitlines()[:1]
    return " ".join([*cause, *own[:1]])


def _keep(outcome: Outcome, fault: str, corpus: Path, scratch: Path, faults: Path) -> None:
    kind = kind_of(fault)
    outcome.faults[kind] += 1
    if outcome.faults[kind] > MOST_OF_A_KIND:
        return
    about = {**json.loads((scratch / CHANGED).read_text()), "reader": outcome.name, "fault": fault}
    changed = scratch / "tree" / about["name"]
    data = changed.read_bytes() if changed.is_file() else b""
    place = faults / f"{outcome.name}-{hashlib.sha256(data + kind.encode()).hexdigest()[:8]}"
    if not place.exists():
        shutil.copytree(scratch / "tree", place / CHANGED, symlinks=True)
        shutil.copytree(corpus / outcome.name, place / SOUND, symlinks=True)
        command = f"python tests/fuzz/run.py --again {os.path.relpath(place)}"
        (place / FAULT).write_text(json.dumps({**about, "again": command}, indent=1) + "\n", "utf-8")
    print(f"{outcome.name}: {fault}\n    {os.path.relpath(place)}", flush=True)


def again(place: Path, corpus: Path) -> None:
    """Read one failing input again, in this process, with the whole traceback."""
    from readers import Shared, find_reader

    about = json.loads((place / FAULT).read_text("utf-8"))
    reader = find_reader(about["reader"], Shared(corpus / "shared"))
    with tempfile.TemporaryDirectory() as folder:
        trees = {
            which: Path(shutil.copytree(place / which, Path(folder) / which, symlinks=True))
            for which in (SOUND, CHANGED)
        }
        wanted = reader.read(trees[SOUND], trees[SOUND] / about["name"]) if reader.exact else None
        found = reader.read(trees[CHANGED], trees[CHANGED] / about["name"])
        if reader.exact and not about["signed"] and found != wanted:
            raise SystemExit("another answer without a word")
    print("an answer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--inputs", type=int, help="the most for each reader, instead of those that the time allows")
    parser.add_argument("--only", action="append", metavar="READER")
    parser.add_argument("--faults", type=Path, default=BUILD / "faults")
    parser.add_argument("--corpus", type=Path, help="one that `corpus.py` wrote, instead of a new one")
    parser.add_argument("--again", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    from corpus import fresh
    from readers import Shared, all_readers

    if arguments.again:
        corpus = BUILD / "corpus"
        again(arguments.again, corpus if corpus.exists() else fresh(corpus, BUILD / "bundles"))
        return
    corpus = arguments.corpus or fresh(BUILD / "corpus", BUILD / "bundles")
    readers = [one for one in all_readers(Shared(corpus / "shared")) if one.name in (arguments.only or [one.name])]
    outcomes, end = [], time.monotonic() + arguments.seconds
    for place, reader in enumerate(readers):
        share = max(1.0, (end - time.monotonic()) / (len(readers) - place))
        most = arguments.inputs or 10**9
        outcome = fuzz(reader.name, corpus, seed=arguments.seed, inputs=most, seconds=share, faults=arguments.faults)
        outcomes.append(outcome)
        print(f"{reader.name:16} {outcome.inputs:9,} inputs {len(outcome.faults):3} faults", flush=True)
    total, found = sum(one.inputs for one in outcomes), sum(len(one.faults) for one in outcomes)
    print(f"{'together':16} {total:9,} inputs {found:3} faults; seed {arguments.seed}")
    raise SystemExit(found > 0)


if __name__ == "__main__":
    main()
