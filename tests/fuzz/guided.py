"""Fuzz readers with inputs that reach new branches of them, by libFuzzer: `make fuzz-guided`, with the package atheris.

    python tests/fuzz/guided.py SECONDS [READER...]

Each reader has as many seconds. Only those are tried whose code is Python, and whose files need no other part of the
corpus: `GUIDED`. A failing input stays in build/fuzz/guided/READER as `crash-...` and is tried first the next time; its
first byte says which of the reader's files it stands for.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE))

GUIDED = ("npy", "npz", "tsv", "csv", "captions", "queries", "vectors", "vocabulary", "tuning", "collection", "ignore")
BUILD = HERE.parent.parent / "build" / "fuzz" / "guided"


def fuzz(name: str, seconds: int) -> None:
    """Read inputs until one fails or the time is over, which ends the process."""
    import atheris
    import own_home  # noqa: F401 before anything of the engine is imported
    from reader import Shared

    with atheris.instrument_imports(include=["shan_engine"], enable_loader_override=False):
        from file_readers import file_readers
        from shan_engine.base.errors import ShanError

    reader = next(one for one in file_readers(Shared(Path())) if one.name == name)
    folder = Path(tempfile.mkdtemp())
    reader.make(folder)
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and reader.changes(path))
    corpus = BUILD / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, held in enumerate(names):
        (corpus / f"seed-{number}").write_bytes(bytes([number]) + (folder / held).read_bytes())
    sound = [(folder / held).read_bytes() for held in names]

    def read(data: bytes) -> None:
        number = data[0] % len(names) if data else 0
        path = folder / names[number]
        path.unlink()  # it may still be mapped
        path.write_bytes(data[1:])
        try:
            with contextlib.suppress(ShanError):
                reader.read(folder, path)
        finally:
            path.unlink()
            path.write_bytes(sound[number])

    limits = [f"-max_total_time={seconds}", "-rss_limit_mb=2048", "-timeout=20", "-max_len=65536"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={corpus}/", str(corpus)], read)
    atheris.Fuzz()


def main(seconds: str, *names: str) -> None:
    """Try readers, each in a process of its own; exit with 1 where one failed."""
    failed = False
    for name in names or GUIDED:
        command = [sys.executable, __file__, "--one", name, seconds]
        with tempfile.TemporaryDirectory(prefix="shan-guided-") as folder:
            environment = {**os.environ, "TMPDIR": folder}
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", check=False, env=environment
            )
        tried = re.findall(r"^(?:Done |#)(\d+)", done.stderr, re.MULTILINE)[-1:] or ["0"]
        print(f"{name:16} {int(tried[0]):9,} inputs  {'a fault' if done.returncode else 'clean'}", flush=True)
        if done.returncode:
            failed = True
            print(done.stdout[-3000:], done.stderr[-3000:], sep="\n")
    raise SystemExit(failed)


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        fuzz(sys.argv[2], int(sys.argv[3]))
    main(*sys.argv[1:])
