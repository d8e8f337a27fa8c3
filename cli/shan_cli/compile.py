"""`shan-engine compile`; `export --tensorrt` makes plans in the same way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from shan_engine.base.choices import Compiler, Precision

from shan_cli.console import OnDone, print_json, progress, say
from shan_cli.options import Json, Verbose

if TYPE_CHECKING:
    from shan_engine.bundle.plans import PlanSet

PrecisionChoice = Annotated[
    Precision, typer.Option(help="Precision of the products. int8 also needs --gallery and --captions for its ranges.")
]
GpuArch = Annotated[
    str,
    typer.Option(
        help="GPUs to compile for, such as sm_86,sm_89,sm_120. Only TensorRT for RTX compiles for GPUs that are not "
        "here.",
        show_default="the GPU in this machine",
    ),
]
MaxBatch = Annotated[int, typer.Option(min=1, max=1024, help="Most images per call. The GPU needs memory for so many.")]


def compile_(
    bundle: Annotated[Path, typer.Argument(help="Bundle to compile. Its plans go into its folder `engines`.")],
    precision: PrecisionChoice = "fp32",
    gpu_arch: GpuArch = "",
    max_batch: MaxBatch = 256,
    compiler: Annotated[
        Compiler | None, typer.Option(help="Which compiler to use.", show_default="the one that is installed")
    ] = None,
    gallery: Annotated[
        Path | None,
        typer.Option(help="Captioned gallery on which to measure how much recall is lost.", show_default=False),
    ] = None,
    captions: Annotated[
        Path | None, typer.Option(help="Captions of that gallery, as for `evaluate`.", show_default=False)
    ] = None,
    split: Annotated[str, typer.Option(help="Split of the captions to use.")] = "test",
    images: Annotated[int, typer.Option(min=1, help="How many of the split's images to use.")] = 200,
    allow_loss: Annotated[
        bool, typer.Option("--allow-loss", help="Compile even if more recall is lost than is allowed.")
    ] = False,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Compile plans again that exist.")] = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Compile a bundle's graphs to TensorRT plans for `--backend tensorrt`.

    Examples:

      shan-engine compile bundle

      shan-engine compile bundle --precision fp16 --gpu-arch sm_86,sm_89 --gallery G --captions captions.tsv

    Plans for several GPUs, precisions and compiler versions are kept side by side.

    A lower precision is first tried on the CPU: fp16 and bf16 may lose 0.2 points of any recall, int8 0.5.
    """
    from shan_engine.base.errors import InputError
    from shan_engine.bundle.plans import as_dict

    if (gallery is None) != (captions is None):
        raise InputError("give both --gallery and --captions, or neither")
    plans = compile_plans(
        bundle,
        precision=precision,
        gpu_arch=gpu_arch,
        max_batch=max_batch,
        compiler=compiler,
        captioned=(gallery, captions, split, images) if gallery and captions else None,
        allow_loss=allow_loss,
        rebuild=rebuild,
    )
    if json:
        print_json(as_dict(plans))


def compile_plans(
    bundle: Path,
    *,
    precision: Precision,
    gpu_arch: str,
    max_batch: int,
    compiler: Compiler | None = None,
    captioned: tuple[Path, Path, str, int] | None = None,
    allow_loss: bool = False,
    rebuild: bool = False,
) -> PlanSet:
    """Compile, with a progress bar and a line about the plans that there are now."""
    from shan_engine.base.optional import require

    require("tensorrt-rtx", "onnx", "ml_dtypes")
    from shan_export.tensorrt.compile import compile_bundle

    with ExitStack() as stack:
        bar: list[tuple[Callable[[int], None], OnDone]] = []

        def next_stage(stage: str) -> None:
            stack.close()
            bar[:] = [stack.enter_context(progress(stage, "steps"))]
            say(f"{stage} …")

        def show(done: int, total: int) -> None:
            on_start, on_done = bar[0]
            on_start(total)
            on_done(done)

        plans, new = compile_bundle(
            bundle,
            precision=precision,
            architectures=gpu_arch.split(",") if gpu_arch else (),
            max_images=max_batch,
            compiler=compiler,
            captioned=captioned,
            allow_loss=allow_loss,
            rebuild=rebuild,
            on_stage=next_stage,
            on_progress=show,
        )
    say(f"{bundle}: plans {plans.name} {'compiled' if new else 'are there already'}{_cost(plans)}")
    return plans


def _cost(plans: PlanSet) -> str:
    check = plans.check
    if plans.precision == "fp32":
        return ""
    said = f"; scores differ by at most {check.largest_score_difference:.1e}"
    if not check.recall_change:
        return f"{said}, recall not measured (give --gallery and --captions)"
    name, worst = min(check.recall_change.items(), key=lambda item: item[1])
    return f"{said}, recall changes by {worst:+.2f} points at worst ({name}, {check.images} images)"
