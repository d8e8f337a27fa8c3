"""A job killed again and again at random moments: is every result the one of an uninterrupted run?

    python benchmarks/kill_jobs.py [--kills 100 --captions 20000 --pause 20 --output-kind parquet npy]

Captions are Flickr8k's where its file is there, else the demo's queries, repeated, each under its own number; images
are the demo's. A job runs to its end uninterrupted; then the same job is started, killed with SIGKILL after a random
time and started again until it ends, and its bytes are compared; and so on until so many kills have hit. Half of the
times are below a second, where a job starts and ends; the others are up to twice --pause seconds. Seeded.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from command import COMMAND
from provenance import recorded
from reports import captions, read_report, write_report

RESULTS = Path(__file__).parent / "results" / "kill_jobs.json"


def digest(output: Path) -> str:
    return hashlib.sha256(output.read_bytes()).hexdigest()


def kill_until(command: list[str], output: Path, kills: int, pause: float, chance: random.Random) -> dict[str, object]:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    seconds, wanted = time.perf_counter() - began, digest(output)
    hit, equal, finished = 0, 0, 0
    while hit < kills:
        output.unlink()
        while True:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            last = hit >= kills
            try:
                after = chance.uniform(0, 1) if chance.random() < 0.5 else chance.uniform(0, 2 * pause)
                process.wait(None if last else after)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            hit += process.returncode == -9
            if process.returncode == 0:
                break
            if process.returncode != -9:
                raise SystemExit(f"the job ended with {process.returncode}")
        finished += 1
        equal += digest(output) == wanted
        print(f"{output.name}: {hit} kills, {equal} of {finished} results equal", flush=True)
    return {
        "kills": hit,
        "results": finished,
        "equal": equal,
        "seconds_uninterrupted": round(seconds, 1),
        "recorded": recorded(),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="for each kind of output")
    parser.add_argument("--captions", type=int, default=20_000)
    parser.add_argument("--pause", type=float, default=20, help="seconds between kills, as a mean of the long ones")
    parser.add_argument("--block-pairs", type=int, default=50_000)
    parser.add_argument("--output-kind", nargs="+", default=["parquet", "npy"], choices=["parquet", "npy"])
    parser.add_argument("--table", type=Path, default=Path("../shared/flickr8k/captions.tsv"))
    parser.add_argument("--report", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    report: dict[str, object] = {"captions": options.captions, "block_pairs": options.block_pairs}
    before = read_report(options.report)
    if {name: before.get(name) for name in report} == report:
        report = before  # of the other kind of output
    with tempfile.TemporaryDirectory() as folder:
        queries = Path(folder) / "captions.txt"
        queries.write_text("".join(f"{text}\n" for text in captions(options.table, options.captions)), "utf-8")
        for kind in options.output_kind:
            output = Path(folder) / f"result.{kind}"
            command = [COMMAND, "score", "--queries", queries, "--output", output]
            command += ["--block-pairs", options.block_pairs]
            chance = random.Random(kind)
            report[kind] = kill_until([*map(str, command)], output, options.kills, options.pause, chance)
    write_report(options.report, report)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
