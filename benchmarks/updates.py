"""How long `shan-engine update` takes: the first time, with nothing new, and with a few new photos.

    python benchmarks/updates.py [--photos 10000 --new 10 --runs 5 --seconds 1800 --work FOLDER --model BUNDLE]

Photos are crops of the demo's, each encoded anew, so that no two are alike. The collection has a configuration of its
own. `--seconds` bounds the first update: where `init` says that it takes longer, fewer photos are made. Times are of
the installed command, its start included; those with nothing new and with new photos are medians of several runs.
Where other programs are busy, the seconds of processors tell more.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from command import Usage, folder_bytes, run
from PIL import Image
from provenance import recorded
from reports import write_report
from shan_engine.locate import demo_bundle

RESULTS = Path(__file__).parent / "results" / "updates.json"
SIDE = 640
FOLDER_PHOTOS = 500
FIRST = 64  # photos that `init` measures


def make_photos(folder: Path, first: int, count: int) -> None:
    """Make photos `first` to `first + count - 1`; those that are there stay. Photo n is always the same."""
    sources = sorted((demo_bundle().parent / "photos").glob("*.jpg"))
    for source_number, source in enumerate(sources):
        numbers = [n for n in range(first, first + count) if n % len(sources) == source_number]
        missing = [n for n in numbers if not photo_path(folder, n).exists()]
        if not missing:
            continue
        with Image.open(source) as opened:
            whole = opened.convert("RGB")
        for number in missing:
            chance = random.Random(number)
            width, height = (round(side * chance.uniform(0.6, 0.95)) for side in whole.size)
            x, y = chance.randint(0, whole.width - width), chance.randint(0, whole.height - height)
            crop = whole.crop((x, y, x + width, y + height))
            crop.thumbnail((SIDE, SIDE))
            path = photo_path(folder, number)
            path.parent.mkdir(parents=True, exist_ok=True)
            crop.save(path, quality=chance.randint(75, 92))


def photo_path(folder: Path, number: int) -> Path:
    return folder / f"{number // FOLDER_PHOTOS:03}" / f"{number:06}.jpg"


def updated() -> tuple[Usage, dict[str, object]]:
    usage = run("update", "--json")
    return usage, json.loads(usage.output)


def row(usages: Sequence[Usage]) -> dict[str, float]:
    return {
        "seconds": round(statistics.median(usage.seconds for usage in usages), 2),
        "cpu_seconds": round(statistics.median(usage.cpu_seconds for usage in usages), 2),
        "peak_mib": round(max(usage.peak_mib for usage in usages)),
    }


def measured(work: Path, options: argparse.Namespace) -> dict[str, object]:
    photos, data, count, new = work / "photos", work / "data", options.photos, options.new
    first = min(FIRST, count)
    make_photos(photos, 0, first)
    model = ("--model", options.model.resolve()) if options.model else ()
    estimate = json.loads(run("init", photos, "--replace", "--json", *model).output)
    if estimate["seconds"]:
        count = min(count, max(first, int(first * options.seconds / estimate["seconds"])))
    print(f"making {count:,} photos", flush=True)
    make_photos(photos, 0, count)
    report: dict[str, object] = {"photos": count}
    usage, done = updated()
    if done["added"]:
        report["first"] = row([usage]) | {"photos_per_second": round(count / usage.seconds, 1)}
        report["bytes"] = folder_bytes(data)
        print(report, flush=True)
    report["nothing_new"] = row([updated()[0] for _ in range(options.runs)])
    print(report["nothing_new"], flush=True)
    usages = []
    for _ in range(options.runs):
        there = sum(1 for _ in photos.rglob("*.jpg"))
        make_photos(photos, there, new)
        usage, done = updated()
        if done["added"] != new:
            raise SystemExit(f"{done['added']} photos were added, not {new}")
        usages.append(usage)
    report["new"] = {"photos": new, **row(usages)}
    return report


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=10_000)
    parser.add_argument("--new", type=int, default=10)
    parser.add_argument("--runs", type=int, default=5, help="with nothing new, and with new photos")
    parser.add_argument("--model", type=Path, help="bundle; else SHAN_MODEL's or the demo's")
    parser.add_argument("--seconds", type=float, default=1800, help="of the first update, at most")
    parser.add_argument("--work", type=Path, help="folder for photos and collection; what is there is used again")
    parser.add_argument("--report", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        work = (options.work or Path(temporary)).resolve()
        os.environ |= {"XDG_CONFIG_HOME": str(work / "config"), "XDG_DATA_HOME": str(work / "data")}
        report = measured(work, options)
    write_report(options.report, report | {"recorded": recorded()})
    print(json.dumps(report))


if __name__ == "__main__":
    main()
