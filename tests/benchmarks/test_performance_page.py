"""The figures of docs/performance.md are those of benchmarks/results/*.json, line by line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/performance.md").read_text("utf-8")
LINES = PAGE.splitlines()


def report(name):
    return json.loads((ROOT / "benchmarks/results" / f"{name}.json").read_text("utf-8"))


def line(*cells):
    return f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |")


def pipeline():
    found = report("pipeline")
    speed, size = found["extract_photos_per_second"], found["store_bytes_per_image"]
    yield line("`extract`, all photos new", f"{speed:.0f} photos/s", f"{1000 / speed:.0f} ms")
    yield line("`extract` again, nothing changed", f"{found['extract_again_seconds']:.1f} s", "")
    yield line("feature store", f"{size * found['images'] / 1e9:.2f} GB", f"{size / 1e3:.0f} kB")


def updates():
    both = report("updates_1000"), report("updates")
    firsts = [one["first"] for one in both]
    yield line("first update", *(f"{one['seconds']:.0f} s ({one['photos_per_second']:.0f} photos/s)" for one in firsts))
    for name, what in (("nothing_new", "nothing new"), ("new", "ten new photos")):
        yield line(what, *(f"{one[name]['seconds']:.1f} s" for one in both))
    peaks = (", ".join(f"{one[name]['peak_mib'] / 1024:.1f} GiB" for name in ("first", "nothing_new")) for one in both)
    yield line("memory at its peak, mapped files included: first update, nothing new", *peaks)
    yield line("store and gallery", f"{both[0]['bytes'] / 1e6:.0f} MB", f"{both[1]['bytes'] / 1e9:.2f} GB")


def scoring():
    for name in ("scoring", "scoring_one_thread", "scoring_regions", "scoring_avx2"):
        for row in report(name)["rows"]:
            over = row["kernel_over"]
            yield line(
                str(row["dim"]),
                *([str(row["regions"])] if "regions" in row else []),
                row["shape"],
                f"{row['pairs_per_second']['kernel']:,}",
                f"{over['plain PyTorch']:.1f}",
                *([f"{over['torch.compile']:.1f}"] if "torch.compile" in over else []),
                f"{over['ONNX Runtime']:.1f}",
                f"{over['bound']:.2f}",
            )


def step_1():
    for row in report("step_1")["rows"]:
        for storage in ("float32", "int8"):
            costs = (row["variants"][variant][storage] for variant in ("x86-64-v4", "x86-64-v3"))
            cells = (f"{one[name]:.1f}" for one in costs for name in ("one_caption", "many_captions", "packing"))
            yield line(str(row["dim"]), str(row["regions"]), storage, *cells)


def agreement():
    for name, phases in report("agreement").items():
        for row in phases.get("ten", ()):
            for kind in ("captions", "short"):
                if kind in row:
                    one, scored = row[kind], row["scored"]
                    shares = [f"{100 * one[share]:.2f} %" for share in ("mean", "percentile_5", "least")]
                    widths = f"{scored['step_1']:,}, {scored['all_steps']:,}"
                    queries = f"{one['queries']} {'short' if kind == 'short' else kind}"
                    yield line(name, f"{row['images']:,}", queries, *shares, widths)


def planted():
    for name, phases in report("agreement").items():
        for row in phases.get("planted", ()):
            depth = (f"{row['depth'][share]:,}" for share in ("0.5", "0.9", "0.99", "1.0"))
            yield line(name, f"{row['images']:,}", f"{row['found']} of {row['belong']}", *depth, f"{row['step_1']:,}")


def growth():
    found = report("growth")
    for name, blocks in found["blocks"].items():
        kinds = [found[kind][name] for kind in ("captions", "short")]
        cells = (f"{100 * one['mean']:.2f} %, {one['cpu_milliseconds']:.1f} ms" for one in kinds)
        yield line(name, str(blocks), *cells)


def jobs():
    found = report("jobs")
    for dim in ("256", "1024"):
        dense, loop = found[dim]["dense"], found[dim]["SCAN-style PyTorch loop"]
        hours = loop["hours_for_all_pairs"]
        yield line(
            dim,
            "`shan-engine score --output scores.npy`",
            f"{dense['seconds'] / 60:.1f} min",
            f"{dense['pairs_per_second']:,}",
            f"{dense['peak_mib'] / 1024:.1f} GiB",
            f"{dense['result_bytes'] / 1e6:.0f} MB",
        )
        hours = f"{hours:.2f}" if hours < 10 else f"{hours:.1f}"
        yield line("", "SCAN-style loop", f"{hours} h, extrapolated", f"{loop['pairs_per_second']:,}", "", "")


def ray():
    named = {"one process": "one process on one core", "1 worker": "one worker of `--ray local`"}
    for name, row in report("jobs")["256"]["ray"].items():
        if name not in ("recorded", "equal_bytes"):
            yield line(
                named.get(name, "two workers"),
                f"{row['seconds']:.1f} s",
                f"{row['seconds_to_the_first_blocks']:.1f} s",
                f"{row['milliseconds_a_block_then'] / 1000:.2f} s",
            )


def large_gallery():
    for row in (one for name in ("large_gallery", "large_gallery_all_steps") for one in report(name)["rows"]):
        agreement, scanned = row.get("agreement_at_10"), row["scanned"]
        yield line(
            f"{row['images']:,}",
            f"{1000 * row['seconds_a_query']:.0f} ms",
            f"{1000 * row['cpu_seconds_a_query']:.0f} ms",
            f"{row['seconds_together']:.1f} s for {row['queries_together']}",
            f"{1000 * row['seconds_a_query_exhaustive']:,.0f} ms" if agreement is not None else "",
            f"{scanned['step_1']:,}, {scanned['all_steps']:,}",
            "" if agreement is None else f"{100 * agreement:g} % of {row['queries_compared']} queries",
            f"{row['cold_seconds']:.1f} s",
        )


def other_engines():
    for engine in (one for size in report("other_engines").values() for one in size["engines"]):
        settings, last = engine["settings"], engine["settings"][-1]
        if engine["engine"] == "shan-engine":  # wider ones find no more
            last = max(settings, key=lambda one: one["agreement_at_10"])
        for one in (settings[0], last)[: len(settings)]:
            about = [engine["engine"], engine["score"]] if one is settings[0] else ["", ""]
            built = f"{engine['seconds_to_build']:,.0f} s" if "seconds_to_build" in engine and about[0] else ""
            agreement = f"{one['agreement_at_10']:.1%}".replace("%", " %")
            yield line(
                *about, one["setting"], agreement, f"{one['cpu_milliseconds']:.1f} ms", built,
                f"{engine['bytes_an_image']:,}" if about[0] else "",
            )  # fmt: skip


def filters():
    for row in report("filters")["rows"]:
        cells = [
            f"{row['conditions'][where]['match']:,} match, {row['conditions'][where]['seconds']:.2f} s"
            for where in ("year = 2001", "year >= 2001", "year >= 2020 AND licence = 'CC0'")
        ]
        yield line(f"{row['images']:,}", f"{row['seconds_to_write']:.1f} s", str(row["bytes_an_image"]), *cells)
    first = report("filters")["rows"][0]
    for where, seconds in first["searches"].items():
        count = first["conditions"].get(where, {"match": first["images"]})["match"]
        yield line("no filter" if where == "all" else f"`{where}`", f"{count:,}", f"{seconds:.2f} s")


def captions():
    for storage, row in report("storage")["captions"].items():
        yield line(
            storage,
            f"{row['index_cpu_seconds']:.0f} s",
            f"{row['index_peak_mib']} MiB",
            f"{row['bytes'] / 1e6:.0f} MB",
            f"{row['search_cpu_seconds']:.1f} s",
            f"{row['search_peak_mib']} MiB",
        )


def storage():
    for name, row in report("storage")["photos"].items():
        apart = f"{row['largest_difference']:.1e}, {row['root_mean_square_difference']:.1e}"
        recall = "/".join(f"{row[f'text_retrieval_r{k}']:.1f}" for k in (1, 5, 10))
        recall += ", " + "/".join(f"{row[f'image_retrieval_r{k}']:.2f}" for k in (1, 5, 10))
        yield line(name, f"{row['bytes_of_regions']:,}", "" if name == "float32" else apart, recall)


def warm():
    found = report("warm")
    for row in found["rows"]:
        yield line(
            f"{row['images']:,}",
            str(row["top_k"]),
            "yes" if row["explain"] else "no",
            *(f"{row[kind][tree]:,.0f} ms" for kind in ("milliseconds", "cpu") for tree in ("against", "this")),
            f"{row['times_as_fast']:.1f}",
        )
    for row in found["callers"]:
        callers = f"{row['callers']} callers" if row["callers"] > 1 else "one caller"
        cells = [
            f"{row['queries_per_second'][tree]:.0f} ({row['times_one_caller'][tree]:.2f})"
            for tree in ("against", "this")
        ]
        yield line(callers, str(row["threads"]), *cells)


def warm_demo():
    for row in report("warm_demo")["rows"]:
        explained = "yes" if row["explain"] else "no"
        yield line(f"{row['images']:,}", str(row["top_k"]), explained, f"{row['cpu']['this']:.0f} ms")


def stages():
    rows = report("stages")["demo"]
    yield line("stage", *(f"{row['images']:,}" for row in rows))
    named = {
        "encode the query": "encode the query",
        "first pass: mean regions": "first pass: mean regions",
        "first pass: further parts, hubness": "first pass: further parts, hubness",
        "exact step 1": f"exact step 1 (of {', '.join(format(row['scored']['step_1'], ',') for row in rows)} images)",
    }
    for stage, said in named.items():
        yield line(said, *(f"{row['milliseconds'][stage]:.1f}" for row in rows))
    named_or_whole = {"query", *named}
    others = [sum(ms for stage, ms in row["milliseconds"].items() if stage not in named_or_whole) for row in rows]
    yield line("everything else", *(f"{other:.1f}" for other in others))
    yield line("the whole query", *(f"{row['milliseconds']['query']:.1f}" for row in rows))
    yield line("of all processors together", *(f"{row['cpu_milliseconds']:.1f}" for row in rows))


TABLES = [
    pipeline,
    updates,
    scoring,
    step_1,
    jobs,
    ray,
    large_gallery,
    stages,
    other_engines,
    filters,
    captions,
    storage,
    warm,
    warm_demo,
    agreement,
    planted,
    growth,
]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_tables_hold_what_was_measured(table):
    expected = list(table())
    assert expected
    missing = [text for text in expected if text not in LINES]
    assert not missing, "\n".join(["docs/performance.md lacks:", *missing])


def test_no_row_is_without_a_report():
    heads = {LINES[place - 1] for place, text in enumerate(LINES) if text.startswith("|---")}
    measured = {text for table in TABLES for text in table()} | heads
    own = PAGE.partition("<!-- gpu-check -->")[0].splitlines()  # what `make gpu-check` writes has its own report
    assert [text for text in own if text.startswith("| ") and text not in measured] == []


def test_the_killed_job_of_the_page_is_the_measured_one():
    found = report("kill_jobs")
    assert found["parquet"]["equal"] == found["parquet"]["results"]
    text = f"{found['captions']:,} captions against the demo's 254 photos, top 10 to Parquet, take "
    assert f"{text}{found['parquet']['seconds_uninterrupted']:.0f} s" in PAGE
