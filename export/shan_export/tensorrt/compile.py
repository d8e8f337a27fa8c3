"""Compile a bundle's plans: convert the graphs to a precision, check, compile, and add them to the bundle as a set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec.structs import replace
from shan_engine.backends.tensorrt.available import import_tensorrt
from shan_engine.base.choices import Precision
from shan_engine.base.errors import BackendError, InputError
from shan_engine.base.files import fresh_folder, sha256, write_failure
from shan_engine.base.locks import hold_lock
from shan_engine.bundle.contents import Bundle
from shan_engine.bundle.plans import (
    ENGINES,
    Limits,
    PlanSet,
    PrecisionCheck,
    architectures_of,
    graph_digests,
    plan_sets,
)
from shan_engine.gallery.reader import Gallery
from shan_engine.text.captions import CaptionSplit, CaptionTable

from shan_export.tensorrt.check import calibration, check_precision, refuse_loss
from shan_export.tensorrt.compiler import Compiler
from shan_export.tensorrt.plan_graphs import convert_graphs, plan_graphs

DEFAULT_IMAGES = Limits().images


def compile_bundle(
    path: Path,
    *,
    precision: Precision = "fp32",
    architectures: Sequence[str] = (),
    max_images: int = DEFAULT_IMAGES,
    compiler: str | None = None,
    captioned: tuple[Path, Path, str, int] | None = None,
    allow_loss: bool = False,
    rebuild: bool = False,
    on_stage: Callable[[str], None] = lambda stage: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[PlanSet, bool]:
    """The bundle's set of plans for these settings, and whether this call compiled it.

    `max_images` is the most images of one call. `captioned` names a gallery, its captions, a split and how many of its
    images measure recall and int8's ranges. Without `rebuild` a set that fits is left as it is; a stale one is
    replaced. Raises BackendError if TensorRT is missing or fails, BundleError if the precision loses too much recall,
    InputError for int8 without a captioned gallery; then nothing changes. `on_stage` gets each stage's name,
    `on_progress` the units (pairs scored or compiler steps) done in that stage and their total.
    """
    bundle = Bundle.open(path)
    builder = Compiler(import_tensorrt(compiler), architectures_of(architectures))
    library = builder.library
    wanted = PlanSet(
        compiler=library.name,
        compiler_version=library.version,
        precision=precision,
        architectures=builder.architectures,
        limits=Limits(images=max_images, words=bundle.manifest.max_words),
        check=PrecisionCheck(0.0),
        graphs=graph_digests(bundle),
        files={},
    )
    if not rebuild and (held := _held(bundle, wanted)):
        return held, False
    if precision == "int8" and captioned is None:
        raise InputError("int8 takes its ranges from real images and captions: give --gallery and --captions")
    engines = bundle.path / ENGINES
    try:
        engines.mkdir(exist_ok=True)
        with hold_lock(engines / "compile.lock", BackendError(f"another program compiles {path}: wait for it")):
            return _compile(bundle, builder, wanted, captioned, allow_loss, on_stage, on_progress), True
    except OSError as error:
        raise InputError(write_failure(engines, error)) from error


def _held(bundle: Bundle, wanted: PlanSet) -> PlanSet | None:
    """The set of that name, if it is complete and belongs to these graphs and limits."""
    folder = bundle.path / ENGINES / wanted.name
    if folder not in plan_sets(bundle):
        return None
    try:
        held = PlanSet.load(folder)
        held.refuse_stale(bundle, folder)
    except BackendError:
        return None
    return held if held.limits == wanted.limits else None


def _compile(
    bundle: Bundle,
    builder: Compiler,
    wanted: PlanSet,
    captioned: tuple[Path, Path, str, int] | None,
    allow_loss: bool,
    on_stage: Callable[[str], None],
    on_progress: Callable[[int, int], None],
) -> PlanSet:
    exact, precision = plan_graphs(bundle), wanted.precision
    check, graphs = wanted.check, exact
    if precision != "fp32":
        measured = _captioned(bundle, captioned)
        on_stage(f"converting to {precision}")
        graphs = convert_graphs(exact, precision, calibration(bundle, exact, *measured) if measured else ())
        on_stage("measuring what it costs")
        check = check_precision(bundle, exact, graphs, measured, on_progress)
        if not allow_loss:
            refuse_loss(precision, check)
    engines = bundle.path / ENGINES
    with fresh_folder(engines / wanted.name, overwrite=True) as fresh:
        for name, graph in graphs.items():
            on_stage(f"compiling {name}")
            cache = engines / f"timing-{builder.library.version}.cache"
            plan = builder.build(graph, wanted.limits, timing_cache=cache, on_progress=on_progress)
            (fresh / f"{name}.plan").write_bytes(plan)
        files = {file.name: sha256(file) for file in sorted(fresh.iterdir())}
        plans = replace(wanted, check=check, files=files)
        plans.save(fresh)
    return plans


def _captioned(bundle: Bundle, captioned: tuple[Path, Path, str, int] | None) -> tuple[Gallery, CaptionSplit] | None:
    if captioned is None:
        return None
    gallery, captions, split, images = captioned
    return Gallery.open(gallery, bundle), CaptionTable.read(captions).split(split).images_between(0, images)
