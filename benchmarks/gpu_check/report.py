"""What was found, as lines of Markdown, and where it goes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

START, END = "<!-- gpu-check -->", "<!-- /gpu-check -->"


def place(root: Path, found: dict[str, Any]) -> Path:
    if not found["gpu"]:
        return root / "build" / "gpu-check-cpu.json"
    name = re.sub(r"[^a-z0-9]+", "-", found["machine"]["name"].lower()).strip("-")
    return root / "benchmarks" / "results" / f"gpu-{name}.json"


def block(found: dict[str, Any], failed: list[dict[str, Any]], private: tuple[Path, ...]) -> str:
    """All that an issue needs, as Markdown to paste; folders in `private` are left out."""
    machine = {name: value for name, value in found["machine"].items() if value is not None}
    text = ["### gpu-check", "", *(f"- {name}: {value}" for name, value in machine.items())]
    text.append(f"- commit: {found['recorded']['commit']}")
    for name, answer in found["back_ends"].items():
        text.append(f"- {name}: {answered(answer)}")
    text.append(f"- parity: {sum(row['passed'] for row in found['parity'])} of {len(found['parity'])} passed")
    text += [f"- **FAILED** {row['shape']} {row['precision']}: {row['difference']}" for row in failed]
    shown = "\n".join([*text, "", *lines(found)])
    for folder in private:
        shown = shown.replace(str(folder), "…")
    return shown


def answered(back_end: dict[str, Any]) -> str:
    """What a back end did: why it does not run, or how far its scores are from the plain module's."""
    if reason := back_end.get("reason"):
        return f"does not run: {reason}"
    return f"runs, largest difference of a score {back_end['difference']:.1e}" if "difference" in back_end else "runs"


def lines(found: dict[str, Any]) -> list[str]:
    machine, bounds = found["machine"], found["bounds"]
    if not found["gpu"]:
        return [
            "PyTorch found no NVIDIA GPU, so the kernels ran in Triton's interpreter on tiny sizes. This shows that",
            "they compute what they should. It shows nothing about speed, streams, memory or what a GPU's compiler",
            "makes. If this machine has such a GPU, install NVIDIA's driver and a PyTorch with CUDA, and run it again.",
        ]
    half = [row for row in found["parity"] if row["precision"] != "float32"]
    held = min(row["recall_at_10"] for row in half)
    exact = max(row["difference"] for row in found["parity"] if row["precision"] == "float32")
    text = [
        f"{machine['name']}, PyTorch {machine['torch']}, Triton {machine['triton']}: a copy moves "
        f"{bounds['copy_bytes_per_s'] / 1e12:.2f} TB/s, a product of float16 matrices does "
        f"{bounds['matrix_operations_per_s'] / 1e12:.0f} TFLOP/s. float32 scores are within {exact:.1e} of the plain "
        f"module in float64; the ten best in half precision hold at least {held:.0%} "
        "of the exact ten.",
        "",
        "| photos | D | queries | gallery | ms | goal | pairs/s | of the memory bound | of the matrix bound |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows(found["galleries"]):
        if "skipped" in row:
            text.append(f"| {row['images']:,} | {row['D']} | {row['skipped']} | | | | | | |")
            continue
        goal = f"{row['goal_ms']:.0f}" if row["goal_ms"] else ""
        text.append(
            f"| {row['images']:,} | {row['D']} | {row['queries']} | {row['level']} | {row['ms']:.1f} | {goal} | "
            f"{row['pairs_per_s']:,.0f} | {row['share_of_memory_bound']:.2f} | {row['share_of_matrix_bound']:.2f} |"
        )
    coco = found["coco"]
    if coco and "failed" not in coco:
        how = f"from {coco['captions_measured']:,} of 25,000 captions" if coco["extrapolated"] else "measured whole"
        text += ["", f"COCO 5K (5,000 photos x 25,000 captions, D = 1024): {coco['whole_seconds']:.1f} s, {how}."]
    for row in rows(found["against_pytorch"]):
        text += [
            "",
            f"D = {row['D']}: {row['pairs_per_s']['kernel']:,.0f} pairs/s, {row['times_compiled']:.1f} times "
            f"`torch.compile` of the factorised module, {row['times_plain']:.0f} times the plain module.",
        ]
    for row in rows(found.get("training")):  # results before it have none
        text += [
            "",
            f"Training, D = {row['D']}, encoders in {row['precision']}: {row['pairs_per_s']:,.0f} pairs/s, batch 128; "
            f"the loss of 8 pairs is within {row['difference']:.1e} of float32 on CPU.",
        ]
    for D in sorted({row["D"] for row in rows(found["sweep"])}):
        tried = [row for row in rows(found["sweep"]) if row["D"] == D and "pairs_per_s" in row]
        most = max(row["images"] for row in tried)
        for captions in sorted({row["captions"] for row in tried}):
            alike = [row for row in tried if (row["captions"], row["images"]) == (captions, most)]
            if len(alike) > 1:
                best = max(alike, key=lambda row: row["pairs_per_s"])
                tiles = ", ".join(f"{name} {best[name]}" for name in ("kernel", "tile", "dims", "warps", "stages"))
                text += [
                    "",
                    f"Best tiles for {captions} captions, D = {D}: {tiles}: {best['pairs_per_s']:,.0f} pairs/s.",
                ]
    return text


def update(page: Path, found: dict[str, Any]) -> None:
    """Replace what stands between the page's two marks."""
    before, _, rest = page.read_text("utf-8").partition(START)
    _, _, after = rest.partition(END)
    page.write_text("\n".join([before + START, "", *lines(found), "", END]) + after, "utf-8")


def rows(section: Any) -> list[dict[str, Any]]:
    return section if isinstance(section, list) else []
