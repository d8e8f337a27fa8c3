"""`shan-engine export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shan_cli.compile import GpuArch, MaxBatch, PrecisionChoice, compile_plans
from shan_cli.console import say
from shan_cli.options import Verbose


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Folder with config.json, vocab.json and model.safetensors.")],
    output: Annotated[Path, typer.Option(help="Bundle to write.")],
    feature_extractor: Annotated[
        Path | None,
        typer.Option(
            help="ONNX extractor that the model was trained with; it is copied into the bundle.", show_default=False
        ),
    ] = None,
    feature_extractor_name: Annotated[
        str | None,
        typer.Option(help="Name of an extractor that stays outside the bundle.", show_default=False),
    ] = None,
    max_words: Annotated[int, typer.Option(min=3, help="Longest caption, start and end markers included.")] = 128,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing bundle.")] = False,
    tensorrt: Annotated[bool, typer.Option("--tensorrt", help="Compile TensorRT plans too; see `compile`.")] = False,
    precision: PrecisionChoice = "fp32",
    gpu_arch: GpuArch = "",
    max_batch: MaxBatch = 256,
    verbose: Verbose = False,
) -> None:
    """Export a checkpoint to ONNX graphs, as a bundle that runs without PyTorch.

    Examples:

      shan-engine export checkpoint --output bundle --feature-extractor feature_extractor.onnx

      shan-engine export checkpoint --output bundle --tensorrt --precision fp16 --gpu-arch sm_86,sm_89

    The graphs are compared with PyTorch. If they differ by more than 1e-4, no bundle is written.
    """
    from shan_engine.base.optional import require

    require("export", "torch", "safetensors", "onnx", "onnxscript")
    from shan_export.bundle_writer import export_bundle

    manifest = export_bundle(
        checkpoint,
        output,
        feature_extractor=feature_extractor,
        feature_extractor_name=feature_extractor_name,
        max_words=max_words,
        overwrite=overwrite,
        on_stage=lambda stage: say(f"{stage} …"),
    )
    say(f"{output}: largest difference from PyTorch {manifest.parity:.1e}, fingerprint {manifest.fingerprint[:12]}")
    if tensorrt:
        compile_plans(output, precision=precision, gpu_arch=gpu_arch, max_batch=max_batch)
