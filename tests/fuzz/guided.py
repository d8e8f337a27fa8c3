"""Fuzz readers with inputs that reach new branches of them, by libFuzzer: `make fuzz-guided`, with the package atheris.

    python tests/fuzz/guided.py SECONDS [READER...]

The readers share the seconds. Branches are those of the project's own Python; what comes of an input is judged as
`run.py` does, but for memory, time and what is printed: libFuzzer has limits of its own. Half of the changes are its
own, half those of `run.py`. A failing input stays in build/fuzz/guided/READER as `crash-...` and is tried first the
next time; its first byte says which of the reader's files it stands for, its highest bit that checksums are made to
fit.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from random import Random

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE))

BUILD = HERE.parent.parent / "build" / "fuzz"
MOST_FILES = SIGNED = 128
OWN = ["shan_engine", "shan_model", "shan_web"]


class FaultError(Exception):
    """What a reader must not do."""


def fuzz(name: str, seconds: int, corpus: Path, scratch: Path) -> None:
    """Read inputs until one fails or the time is over, which ends the process."""
    import atheris

    with atheris.instrument_imports(include=OWN, enable_loader_override=False):
        from readers import Shared, find_reader
        from worker import Trial

        trial = Trial(find_reader(name, Shared(corpus / "shared")), corpus / name, scratch)
        trial.warm_up()  # imports what only reading does
    names, kept = trial.names[:MOST_FILES], BUILD / "guided" / name
    kinds = (0, SIGNED) if trial.reader.sign else (0,)
    seeds = [bytes([kind + number]) + trial.content[file] for number, file in enumerate(names) for kind in kinds]
    kept.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (kept / f"seed-{number}").write_bytes(seed)

    def meant(data: bytes) -> str:
        return names[data[0] % MOST_FILES % len(names)]

    def read(data: bytes) -> None:
        file, signed = meant(data or b"\0"), data[:1] >= bytes([SIGNED]) and trial.reader.sign is not None
        trial.put(file, data[1:], signed)
        fault = trial.fault(file, signed)
        trial.restore(file, signed)
        if fault:
            raise FaultError(f"{file}: {fault}")

    def mutated(data: bytes, most: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < 0.5:
            return bytes(atheris.Mutate(data, most))
        if not data or random.random() < 0.5:  # libFuzzer keeps one seed of those that reach the same branches
            data = random.choice(seeds)
        return data[:1] + trial.mutated(meant(data), data[1:], random)[: most - 1]

    longest = max(map(len, trial.content.values())) * 5 // 4 + 4096
    limits = [f"-max_total_time={seconds}", "-rss_limit_mb=4096", "-timeout=30", f"-max_len={longest}"]
    command = [sys.argv[0], *limits, f"-artifact_prefix={kept}/", str(kept)]
    atheris.Setup(command, read, custom_mutator=mutated)
    atheris.Fuzz()


def main(seconds: str, *names: str) -> None:
    """Try readers, each in a process of its own; exit with 1 where one failed."""
    from corpus import fresh
    from readers import Shared, all_readers
    from run import scratch_folder

    corpus, total, failed = fresh(BUILD / "corpus", BUILD / "bundles"), 0, False
    chosen = names or [reader.name for reader in all_readers(Shared(corpus))]
    share = max(1, int(seconds) // len(chosen))
    for name in chosen:
        with scratch_folder() as scratch:
            command = [sys.executable, __file__, "--one", name, str(share), str(corpus), str(scratch / "work")]
            (scratch / "work").mkdir()
            environment = {**os.environ, "TMPDIR": str(scratch), "OMP_NUM_THREADS": "1"}
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", check=False, env=environment
            )
        tried = int((re.findall(r"^(?:Done |#)(\d+)", done.stderr, re.MULTILINE)[-1:] or ["0"])[0])
        total += tried
        print(f"{name:16} {tried:9,} inputs  {'a fault' if done.returncode else 'clean'}", flush=True)
        if done.returncode:
            failed = True
            print(done.stdout[-3000:], done.stderr[-3000:], sep="\n")
    print(f"{'together':16} {total:9,} inputs")
    raise SystemExit(failed)


if __name__ == "__main__":
    import own_home  # noqa: F401 before anything of the engine is imported

    if sys.argv[1] == "--one":
        fuzz(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), Path(sys.argv[5]))
    main(*sys.argv[1:])
