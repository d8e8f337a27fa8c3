"""Let every call of a command that writes fail or end the process, and check what is left.

    LD_PRELOAD=faults.so python tests/crashes/sweep.py BUNDLE SEEING STATE SAMPLE CASE...

SEEING is a bundle with a feature extractor. STATE is an empty folder. SAMPLE is how many calls of each case are tried
for each kind of fault, 0 for all. After each fault the old state or the new must be there, whole; the same command must
then end as it ends undisturbed. Every run is a fork of this process, which has imported everything and started nothing.
One that takes `PATIENCE` seconds counts as hung, and says where.

A case named "power: ..." is a loss of power instead (power_loss.py): after some or all of its calls, only what was
synced is there. Once the command has ended, that must be the new state.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import importlib
import json
import os
import pickle
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cases import Case, cases
from in_process import shan
from PIL import Image
from power_loss import lose_power, read_record
from shan_cli import main as command_line  # noqa: F401 imported once, before all forks
from shan_engine.collections.named import collection_file
from shan_engine.collections.settings import Collection
from shan_engine.indexing import captions, images  # noqa: F401
from shan_engine.jobs import job  # noqa: F401
from shan_engine.photos import extract  # noqa: F401
from shan_engine.scoring import scorer  # noqa: F401
from tiny import CAPTIONS, make_store

PATIENCE = 240
LIBRARY = ctypes.CDLL(os.environ["LD_PRELOAD"])
MODES = {"kill": 1, "ENOSPC": 2, "EIO": 3, "short": 4}


BUNDLE, SEEING = Path(sys.argv[1]), Path(sys.argv[2])
CASES = cases(BUNDLE, SEEING)
POWER = "power: "


def forked(action: Callable[[], Any]) -> tuple[int, Any]:
    """The exit status of a fork, and what its action returned; None where it was killed."""
    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.close(reading)
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        try:
            answer = pickle.dumps(action())
        except BaseException:
            answer = pickle.dumps("a traceback: " + traceback.format_exc())
        with os.fdopen(writing, "wb") as file:
            file.write(answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        data = file.read()
    status = os.waitpid(child, 0)[1]
    return status, pickle.loads(data) if data else None


def import_all(modules: Sequence[str]) -> None:
    """Import what a fork has imported, so that no other fork has to; no thread may come of it."""
    tasks = Path("/proc/self/task")
    threads = len([*tasks.iterdir()])
    for module in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    assert len([*tasks.iterdir()]) == threads, "an import has started a thread"
    gc.freeze()  # a collection in a fork would copy each page


def make_state(at: Path, chosen_cases: Sequence[Case]) -> None:
    """What commands start from."""
    at.mkdir(parents=True)
    make_store(at / "s", range(6)).close()
    make_store(at / "s2", range(3, 9)).close()
    make_store(at / "s3", range(20, 24)).close()
    np.save(at / "more.npy", np.random.default_rng(0).random((4, 3, 8), np.float32))
    (at / "c.txt").write_text("\n".join(CAPTIONS[:4]) + "\n")
    (at / "photos").mkdir()
    for number in range(3):
        Image.new("RGB", (40, 20), (80 * number, 9, 200)).save(at / "photos" / f"{number}.png")
    for store, gallery in (("s", "old"), ("s3", "other")):
        assert shan("index", at / store, "--model", BUNDLE, "--output", at / gallery).returncode == 0
    for case in chosen_cases:
        case.make(at)


def _unlike(found: Any, wanted: Any) -> Any:
    """The keys in which two states differ."""
    if not (isinstance(found, dict) and isinstance(wanted, dict)):
        return found
    return sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))


@dataclass(frozen=True)
class Run:
    """A case that was run undisturbed: what was there before and after it, and its calls that write."""

    name: str
    case: Case
    at: Path
    base: Path
    before: Any
    after: Any
    count: int

    @classmethod
    def of(cls, name: str, case: Case, state: Path, record: Path | None = None) -> Run:
        """Run a case; its calls are recorded in a file."""
        at = state / "at"

        def undisturbed() -> Any:
            before = case.held(at)
            if record:
                LIBRARY.fault_record(str(record).encode())
            LIBRARY.fault_arm(str(at).encode(), 0, 0)
            done = shan(*case.command(at))
            count = LIBRARY.fault_count()
            return before, done.returncode, done.stderr, count, case.held(at), [*sys.modules]

        fresh(at, state / "base")
        _, found = forked(undisturbed)
        assert isinstance(found, tuple), (name, found)
        before, code, said, count, after, modules = found
        assert code == 0, (name, said)
        import_all(modules)
        assert count > 0, name
        return cls(name, case, at, state / "base", before, after, count)

    def check(self, where: str, told: Any) -> Any:
        """The old state or the new must be there, and the command end as it does undisturbed; what is there."""
        case, at, before, after = self.case, self.at, self.before, self.after

        def checked() -> Any:
            held = case.held(at)
            done = shan(*case.command(at), *(case.again if held and held != before else ()))
            return held, done.returncode, done.stderr, case.held(at)

        _, found = forked(checked)
        assert isinstance(found, tuple), (where, told, found)
        held, code, said, last = found
        old, new = before or {}, after or {}
        if isinstance(old, dict) and isinstance(new, dict):
            # Whole batches come one after another: nothing that is in both may be missing or other.
            for key in old.keys() & new.keys():
                assert (held or {}).get(key) in (old[key], new[key]), (where, "lost", key)
            assert all(value in (old.get(key), new.get(key)) for key, value in (held or {}).items()), where
        if held == after != before:  # what is done need not be possible again
            assert last == after, where
        else:
            assert code == 0, (where, told, said)
            assert last == after, (where, "the same command ended otherwise", _unlike(last, after))
        return held


def fresh(at: Path, base: Path) -> None:
    """A new copy of what commands start from, at a place that no other call of this program uses."""
    shutil.rmtree(at, ignore_errors=True)
    shutil.copytree(base, at)


def chosen(name: str, count: int, sample: int) -> list[int]:
    """The numbers of the calls to try, 1 to `count`: all, or the first, the last and some between."""
    if not sample or count <= sample:
        return list(range(1, count + 1))
    return sorted({1, count, *np.random.default_rng(len(name)).integers(1, count + 1, sample - 2).tolist()})


def sweep_power(name: str, case: Case, state: Path, sample: int) -> dict[str, int]:
    """Lose power after calls of a case, as `sweep`."""
    record = state / "record"
    record.unlink(missing_ok=True)
    run, tried = Run.of(name, case, state, record), 0
    calls = read_record(record)
    for point in chosen(name, len(calls), sample):
        for renamed in (False, True):
            lose_power(state / "base", run.at, calls[:point], renamed=renamed)
            where = f"{POWER}{name} after call {point} of {len(calls)}, {'renames' if renamed else 'nothing'} unsynced"
            held = run.check(where, calls[point - 1][:2])
            tried += 1
            assert point < len(calls) or held == run.after, (where, "what was done was lost")
    return {"calls": len(calls), "points": tried // 2, "faults": tried}


def sweep(name: str, case: Case, state: Path, sample: int) -> dict[str, int]:
    """Try a case. Returns how many faults were injected; raises AssertionError for what must not be."""
    run = Run.of(name, case, state)
    at, count, tried = run.at, run.count, 0
    points = chosen(name, count, sample)
    for mode, number in MODES.items():
        for point in points:
            fresh(at, run.base)
            where = f"{name}: {mode} at call {point} of {count}"

            def disturbed(point: int = point, number: int = number) -> Any:
                LIBRARY.fault_arm(str(at).encode(), point, number)
                done = shan(*case.command(at))
                return done.returncode, done.stderr

            status, told = forked(disturbed)
            tried += 1
            if mode == "kill":
                assert status == signal.SIGKILL, (where, told)
            else:
                assert isinstance(told, tuple), (where, told)
                assert told[0] in (0, 1), (where, told)
                assert "Traceback" not in told[1], (where, told)
            run.check(where, told)
    return {"calls": count, "points": len(points), "faults": tried}


def main() -> None:
    """Print a line of JSON for each case."""
    state, sample = Path(sys.argv[3]), int(sys.argv[4])
    os.environ |= {"XDG_CONFIG_HOME": str(state / "config"), "XDG_DATA_HOME": str(state / "data")}
    at = state / "at"
    file = collection_file("photos")
    file.parent.mkdir(parents=True)
    Collection(name="photos", folders=(at / "photos",), store=at / "u", gallery=at / "ug", model=SEEING).save(file)
    names = sys.argv[5:] or list(CASES)
    wanted = [CASES[name.removeprefix(POWER)] for name in names]
    _, failed = forked(lambda: make_state(state / "base", wanted))
    assert failed is None, failed
    for case in wanted:
        case.prepare()
    for name in names:
        case = CASES[name.removeprefix(POWER)]
        found = (sweep_power if name.startswith(POWER) else sweep)(name.removeprefix(POWER), case, state, sample)
        print(json.dumps({"case": name, **found}), flush=True)


if __name__ == "__main__":
    main()
