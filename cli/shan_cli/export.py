"""`shan-engine export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shan_cli.compile import GpuArch, MaxBatch, PrecisionChoice, compile_plans
from shan_cli.console import PrecisionOption, messages, need


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Folder with config.json, vocab.json and model.safetensors.")],
    output: Annotated[Path, typer.Option(help="Bundle to write.")],
    feature_extractor: Annotated[
        Path | None,
        typer.Option(help="ONNX extractor the model was trained on, copied into the bundle.", show_default=False),
    ] = None,
    feature_extractor_name: Annotated[
        str | None,
        typer.Option(help="Name of an extractor that stays outside the bundle.", show_default=False),
    ] = None,
    max_words: Annotated[int, typer.Option(min=3, help="Longest caption, start and end markers included.")] = 128,
    overwrite: Annotated[bool, typer.Option(help="Replace a bundle that is there.")] = False,
    tensorrt: Annotated[bool, typer.Option("--tensorrt", help="Compile TensorRT plans too; see `compile`.")] = False,
    precision: PrecisionChoice = PrecisionOption.FP32,
    gpu_arch: GpuArch = "",
    max_batch: MaxBatch = 256,
) -> None:
    """Export a checkpoint to ONNX graphs, and compare them with PyTorch: within 1e-4 or not at all.

    Examples:

      shan-engine export checkpoint --output bundle --feature-extractor feature_extractor.onnx

      shan-engine export checkpoint --output bundle --tensorrt --precision fp16 --gpu-arch sm_86,sm_89
    """
    need("export", "torch", "safetensors", "onnx", "onnxscript")
    from shan_export.bundle_writer import export_bundle

    manifest = export_bundle(
        checkpoint,
        output,
        feature_extractor=feature_extractor,
        feature_extractor_name=feature_extractor_name,
        max_words=max_words,
        overwrite=overwrite,
        on_stage=lambda stage: messages.print(f"{stage} …", markup=False),
    )
    messages.print(
        f"{output}: largest difference from PyTorch {manifest.parity:.1e}, fingerprint {manifest.fingerprint[:12]}",
        markup=False,
        soft_wrap=True,
    )
    if tensorrt:
        compile_plans(output, precision=precision, gpu_arch=gpu_arch, max_batch=max_batch)
