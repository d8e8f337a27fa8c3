"""Options that several commands share: each is a type with its name and help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from shan_engine.base import choices

from shan_cli.console import show_log

OF_STORE = "as in the store, float32 for a new one"
OF_GALLERY = "as in the gallery, float32 for a new one"
SMALLER = "How numbers are kept on disk. float16 takes half the space of float32"

Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        callback=show_log,
        help="Log to standard error what was chosen and why: gallery, back end, fallbacks, search widths.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON on standard output.")]

Device = Annotated[
    choices.Device, typer.Option(help="Where graphs run. auto may fall back to the CPU; cpu and cuda never fall back.")
]
Backend = Annotated[
    choices.Backend,
    typer.Option(
        help="What scores pairs. onnxruntime runs on CPU or CUDA; onnxruntime-tensorrt is its TensorRT provider. "
        "tensorrt runs plans made by `compile`. torch keeps the gallery on CUDA devices. auto is torch for --device "
        "cuda where PyTorch and Triton are installed, else onnxruntime."
    ),
]
Precision = Annotated[
    choices.Precision | None,
    typer.Option(help="Precision of TensorRT plans.", show_default="the most exact that is compiled"),
]


def _model(purpose: str) -> Any:
    return typer.Option(help=f"{purpose}.", show_default="SHAN_MODEL, else the bundled demo")


Gallery = Annotated[
    Path | None,
    typer.Option(
        help="Gallery to search: its folder, the name of a collection, or demo.",
        show_default="SHAN_GALLERY, the collection, else the bundled demo",
    ),
]
Shards = Annotated[
    list[Path] | None,
    typer.Option(
        help="Gallery to search: its folder, the name of a collection, or demo. Repeatable: galleries are then "
        "searched as one, and so are those in a folder of galleries.",
        show_default="SHAN_GALLERY, the collection, else the bundled demo",
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        help="Search the galleries in parallel with Ray workers, one for each gallery: local (this machine), auto "
        "(the running cluster), or an address.",
        show_default=False,
    ),
]
Replicas = Annotated[int, typer.Option(min=1, help="Ray workers for each gallery; if one is lost, another answers.")]
Model = Annotated[
    Path | None,
    typer.Option(
        help="Bundle that made the gallery.", show_default="SHAN_MODEL or the bundled demo, else the gallery's own"
    ),
]
ExtractorModel = Annotated[Path | None, _model("Bundle whose feature extractor is used, unless you pass --extractor")]
EncoderModel = Annotated[Path | None, _model("Bundle to encode with; searches then need the same one")]
IndexModel = Annotated[
    Path | None,
    typer.Option(
        help="Bundle to encode with. new changes a gallery to the bundle in SHAN_MODEL, else the bundled demo's.",
        show_default="the gallery's own, SHAN_MODEL, else the bundled demo",
    ),
]

Exclude = Annotated[
    list[str] | None,
    typer.Option(help="Pattern of photos and folders to leave out, as in a .gitignore. May be repeated."),
]
Roots = Annotated[
    list[str] | None,
    typer.Option(
        "--root",
        metavar="OLD=NEW",
        help="Photos of folder OLD are in folder NEW now. Their features stay. May be repeated.",
    ),
]
Prune = Annotated[
    bool,
    typer.Option("--prune", help="Also remove photos of folders that are missing or empty, without asking."),
]
ReadText = Annotated[
    bool,
    typer.Option(
        "--read-text", help="Also read what is written in the photos, each photo once; needs the extra `ocr`."
    ),
]
StoreStorage = Annotated[choices.StoreDtype | None, typer.Option(help=f"{SMALLER}.", show_default=OF_STORE)]
GalleryStorage = Annotated[
    choices.GalleryDtype | None, typer.Option(help=f"{SMALLER}, int8 a quarter.", show_default=OF_GALLERY)
]

Captions = Annotated[
    Path,
    typer.Option(
        help="Tab-separated file with the columns split, image, caption and perhaps language; or a folder of SCAN's "
        "*_caps.txt."
    ),
]
Languages = Annotated[
    list[str] | None,
    typer.Option(
        "--language",
        help="Use only the captions of this language, as the column language names it. Repeatable.",
        show_default=False,
    ),
]
QuerybankSize = Annotated[
    int | None, typer.Option(help="How many of --querybank to use, evenly spread.", min=1, show_default="2,000")
]
InverseTemperature = Annotated[
    float | None,
    typer.Option(
        help="β of the normalisation. The higher it is, the more the best scores of the querybank count.",
        show_default="20",
    ),
]
MetadataFile = Annotated[
    Path | None,
    typer.Option(
        "--metadata",
        help="Table (.csv or .parquet) of facts about the images, for `search --where`. It replaces the store's table.",
        show_default=False,
    ),
]
MetadataIdColumn = Annotated[
    str | None,
    typer.Option(
        "--metadata-id-column",
        help="Column of the table that holds the image ids.",
        show_default="id, image or path",
    ),
]


def refuse_without_querybank(querybank: object, size: int | None, inverse_temperature: float | None) -> None:
    """Raise InputError for options of a querybank if no querybank is given."""
    from shan_engine.base.errors import InputError

    if querybank is None and (size is not None or inverse_temperature is not None):
        option = "--inverse-temperature" if size is None else "--querybank-size"
        raise InputError(f"{option} needs a querybank: name one with --querybank, or leave {option} out")
