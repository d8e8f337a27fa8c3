"""Every choice that the engine offers, as the command line offers it too: one `Literal` each, the default first.

Nothing is imported here but `typing`, so that the command line starts fast.
"""

from __future__ import annotations

from typing import Literal, get_args

Device = Literal["auto", "cpu", "cuda"]
"""Where graphs run."""

Backend = Literal["auto", "onnxruntime", "onnxruntime-tensorrt", "tensorrt", "torch"]
"""What scores pairs.

`onnxruntime` uses the compiled kernel on the CPU where it can; `onnxruntime-tensorrt` is its TensorRT provider.
`tensorrt` runs a bundle's plans, `torch` runs on CUDA devices.
"""

Precision = Literal["fp32", "fp16", "bf16", "int8"]
"""Precision of TensorRT plans, the most exact first."""

Compiler = Literal["tensorrt", "tensorrt_rtx"]
"""NVIDIA's two compilers, by the names of their modules."""

StoreDtype = Literal["float32", "float16"]
"""How a feature store holds numbers."""

GalleryDtype = Literal["float32", "float16", "int8"]
"""How a gallery holds numbers; int8 with a scale for each row."""

Direction = Literal["text-to-image", "image-to-text"]
"""What a scoring job ranks: images for each caption, or captions for each image."""

Protocol = Literal["all", "1k", "5k", "folds"]
"""Which images an evaluation ranks among each other."""

VisionLanguageScorer = Literal["clip", "late"]
"""How an exported vision-language model scores: by its own cosine, or by words and regions too."""

PatchRegions = Literal["grid", "all"]
"""What becomes of its patches: a grid of regions, or a region each."""

StoredWeights = Literal["float32", "float16", "int8"]
"""How a bundle of such a model stores weights; it computes in float32."""

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
STORE_DTYPES: tuple[StoreDtype, ...] = get_args(StoreDtype)
GALLERY_DTYPES: tuple[GalleryDtype, ...] = get_args(GalleryDtype)

DEFAULT_RECALL_TARGET = 0.99
"""Share of an exhaustive search's hits that a search in stages must find."""
