"""`shan-engine compile`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shan_cli.console import Json, OnDone, PrecisionOption, messages, need, print_json, progress

if TYPE_CHECKING:
    from shan_engine.bundle.plans import PlanSet


class CompilerOption(StrEnum):
    """NVIDIA's two compilers, as their modules are called."""

    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt_rtx"


PrecisionChoice = Annotated[
    PrecisionOption, typer.Option(help="Of the products; int8 also needs --gallery and --captions for its ranges.")
]
GpuArch = Annotated[
    str,
    typer.Option(
        help="GPUs to compile for, such as sm_86,sm_89,sm_120; else the one that is here. Only TensorRT for RTX "
        "compiles for others.",
        show_default=False,
    ),
]
MaxBatch = Annotated[int, typer.Option(min=1, max=1024, help="Most images of one call; the GPU needs memory for them.")]


def compile_(
    bundle: Annotated[Path, typer.Argument(help="Bundle to compile; its plans go into its folder `engines`.")],
    precision: PrecisionChoice = PrecisionOption.FP32,
    gpu_arch: GpuArch = "",
    max_batch: MaxBatch = 256,
    compiler: Annotated[
        CompilerOption | None, typer.Option(help="Else the one that is installed.", show_default=False)
    ] = None,
    gallery: Annotated[
        Path | None,
        typer.Option(help="Captioned gallery on which the precision's loss of recall is measured.", show_default=False),
    ] = None,
    captions: Annotated[Path | None, typer.Option(help="Its captions, as for `evaluate`.", show_default=False)] = None,
    split: Annotated[str, typer.Option(help="Rows of the captions to use.")] = "test",
    images: Annotated[int, typer.Option(min=1, help="How many of the split's images to use.")] = 200,
    allow_loss: Annotated[
        bool, typer.Option("--allow-loss", help="Compile even where recall loses more than the precision may.")
    ] = False,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Compile again what is compiled.")] = False,
    json: Json = False,
) -> None:
    """Compile a bundle's graphs to TensorRT plans for `--backend tensorrt`.

    Plans of another GPU, precision or compiler version are kept beside each other. A lower precision is run on the CPU
    first: fp16 and bf16 may lose 0.2 points of any recall, int8 0.5.

    Examples:

      shan-engine compile bundle

      shan-engine compile bundle --precision fp16 --gpu-arch sm_86,sm_89 --gallery G --captions captions.tsv
    """
    from shan_engine.base.errors import InputError
    from shan_engine.bundle.plans import as_dict

    if (gallery is None) != (captions is None):
        raise InputError("give both --gallery and --captions, or neither")
    captioned = (gallery, captions, split, images) if gallery and captions else None
    plans = compile_plans(
        bundle,
        precision=precision,
        gpu_arch=gpu_arch,
        max_batch=max_batch,
        compiler=compiler,
        captioned=captioned,
        allow_loss=allow_loss,
        rebuild=rebuild,
    )
    if json:
        print_json(as_dict(plans))


def compile_plans(
    bundle: Path,
    *,
    precision: PrecisionOption,
    gpu_arch: str,
    max_batch: int,
    compiler: CompilerOption | None = None,
    captioned: tuple[Path, Path, str, int] | None = None,
    allow_loss: bool = False,
    rebuild: bool = False,
) -> PlanSet:
    """Compile, with a progress bar and a line that says what there is now."""
    need("tensorrt-rtx", "onnx", "ml_dtypes")
    from shan_export.tensorrt.compile import compile_bundle

    with ExitStack() as stack:
        bar: list[tuple[Callable[[int], None], OnDone]] = []

        def next_stage(stage: str) -> None:
            stack.close()
            bar[:] = [stack.enter_context(progress(stage, "steps"))]
            messages.print(f"{stage} …", markup=False)

        def show(done: int, total: int) -> None:
            on_start, on_done = bar[0]
            on_start(total)
            on_done(done)

        plans, new = compile_bundle(
            bundle,
            precision=precision.value,
            architectures=gpu_arch.split(",") if gpu_arch else (),
            max_images=max_batch,
            compiler=compiler and compiler.value,
            captioned=captioned,
            allow_loss=allow_loss,
            rebuild=rebuild,
            on_stage=next_stage,
            on_progress=show,
        )
    state = "compiled" if new else "there already"
    messages.print(f"{bundle}: plans {plans.name} {state}{_cost(plans)}", markup=False, soft_wrap=True)
    return plans


def _cost(plans: PlanSet) -> str:
    check = plans.check
    if plans.precision == "fp32":
        return ""
    said = f"; scores differ by {check.largest_score_difference:.1e} at most"
    if not check.recall_change:
        return f"{said}, recall not measured (give --gallery and --captions)"
    name, worst = min(check.recall_change.items(), key=lambda item: item[1])
    return f"{said}, recall by {worst:+.2f} points at worst ({name}, {check.images} images)"
