"""`shan-engine export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from shan_engine.base import choices

from shan_cli.compile import GpuArch, MaxBatch, PrecisionChoice, compile_plans
from shan_cli.console import say
from shan_cli.options import Verbose


def export(
    output: Annotated[Path, typer.Option(help="Bundle to write.")],
    checkpoint: Annotated[
        Path | None,
        typer.Argument(help="Folder with config.json, vocab.json and model.safetensors.", show_default=False),
    ] = None,
    from_: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="In place of a checkpoint: folder of a CLIP or SigLIP model as Hugging Face stores it.",
            show_default=False,
        ),
    ] = None,
    scorer: Annotated[
        choices.VisionLanguageScorer,
        typer.Option(help="With --from: clip is the model's own cosine, late also compares words with regions."),
    ] = "clip",
    late_weight: Annotated[
        float,
        typer.Option(min=0.0, help="With --scorer late: weight of the words' mean beside the cosine; 0 only explains."),
    ] = 0.1,
    regions: Annotated[
        choices.PatchRegions,
        typer.Option(help="With --from: grid pools patches to 6 x 6 regions, all keeps a region for each patch."),
    ] = "grid",
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
    weights: Annotated[
        choices.StoredWeights,
        typer.Option(help="With --from: how weights are stored. float16 takes half the space, int8 about a quarter."),
    ] = "float32",
    max_words: Annotated[int, typer.Option(min=3, help="Longest caption, start and end markers included.")] = 128,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing bundle.")] = False,
    tensorrt: Annotated[bool, typer.Option("--tensorrt", help="Compile TensorRT plans too; see `compile`.")] = False,
    precision: PrecisionChoice = "fp32",
    gpu_arch: GpuArch = "",
    max_batch: MaxBatch = 256,
    verbose: Verbose = False,
) -> None:
    """Export a checkpoint, or a model such as CLIP, to ONNX graphs: a bundle that runs without PyTorch.

    Examples:

      shan-engine export checkpoint --output bundle --feature-extractor feature_extractor.onnx

      shan-engine export checkpoint --output bundle --tensorrt --precision fp16 --gpu-arch sm_86,sm_89

      shan-engine export --from clip-vit-base-patch32 --output bundle

    The graphs are compared with PyTorch. If they differ by more than 1e-4, no bundle is written. With --from, cosines
    of photos and texts are compared with the model's own, and may differ by 1e-5.
    """
    from shan_engine.base.optional import require

    if (checkpoint is None) == (from_ is None):
        raise typer.BadParameter("name either a checkpoint or a model with --from")
    if from_ is not None and (feature_extractor or feature_extractor_name):
        raise typer.BadParameter("a model with --from brings its own feature extractor: leave out --feature-extractor")
    require("export", "torch", "safetensors", "onnx", "onnxscript")
    if from_ is not None:
        require("clip", "transformers")
        from shan_export.vision_language.bundle import export_from

        manifest = export_from(
            from_,
            output,
            scorer=scorer,
            late_weight=late_weight,
            all_regions=regions == "all",
            weights=weights,
            overwrite=overwrite,
            on_stage=_say_stage,
        )
    else:
        from shan_export.bundle_writer import export_bundle

        assert checkpoint is not None
        manifest = export_bundle(
            checkpoint,
            output,
            feature_extractor=feature_extractor,
            feature_extractor_name=feature_extractor_name,
            max_words=max_words,
            overwrite=overwrite,
            on_stage=_say_stage,
        )
    say(f"{output}: largest difference from PyTorch {manifest.parity:.1e}, fingerprint {manifest.fingerprint[:12]}")
    if tensorrt:
        compile_plans(output, precision=precision, gpu_arch=gpu_arch, max_batch=max_batch)


def _say_stage(stage: str) -> None:
    say(f"{stage} …")
