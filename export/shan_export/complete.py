"""Give a bundle what makes it honest: a querybank, a calibration, and which tokens photos taught the model.

    python -m shan_export.querybank --output bank.txt
    python -m shan_export.complete B --querybank bank.txt --inverse-temperature 20 --weight 1
    python -m shan_export.complete B --learnt captions.tsv --learnt german.tsv
    python -m shan_export.complete B --calibration weights.json

Galleries hold hubness by the bundle's querybank, so another bank or inverse temperature gives the bundle another
fingerprint: index again. The weight of hubness, a calibration (benchmarks/calibration.py) and the list of tokens leave
galleries as they are. Tokens of the names of classes count as learnt where the bundle has classes.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace
from shan_engine.base.errors import InputError
from shan_engine.base.files import replacing, sha256
from shan_engine.base.json_text import decode_json
from shan_engine.bundle.contents import CLASSES, LEARNT, Bundle
from shan_engine.bundle.manifest import QUERYBANK, Manifest
from shan_engine.indexing.querybank import INVERSE_TEMPERATURE
from shan_engine.text.captions import CaptionTable
from shan_engine.text.query_files import read_captions
from shan_model.classes.table import ClassTable


def add_querybank(bundle: Path, queries: Sequence[str], *, inverse_temperature: float, weight: float) -> None:
    """Give a bundle a querybank, or another one. Its fingerprint changes with what galleries store."""
    held = Bundle.open(bundle).manifest
    content = "".join(f"{query}\n" for query in queries)
    file = hashlib.sha256(content.encode()).hexdigest()
    before = held.files.get(QUERYBANK), held.querybank.get("inverse_temperature")
    fingerprint = held.fingerprint
    if before != (file, inverse_temperature):
        fingerprint = hashlib.sha256(f"{fingerprint} {file} {inverse_temperature}".encode()).hexdigest()
    with replacing(bundle / QUERYBANK) as path:
        path.write_text(content, "utf-8")
    settings = {"inverse_temperature": inverse_temperature, "weight": weight}
    _save(bundle, [QUERYBANK], querybank=settings, fingerprint=fingerprint)


def add_learnt(bundle: Path, captions: Iterable[str]) -> None:
    """Note the tokens of training captions, and those of the classes' names where the bundle has classes."""
    opened = Bundle.open(bundle)
    learnt = np.zeros(len(opened.tokenizer), np.bool_)
    names = ClassTable.load().texts()[0] if CLASSES in opened.manifest.files else []
    for text in (*captions, *names):
        learnt[list(opened.tokenizer.encode(text).tokens)] = True
    with replacing(bundle / LEARNT) as path, path.open("wb") as file:
        np.savez_compressed(file, tokens=np.packbits(learnt))
    _save(bundle, [LEARNT])


def add_calibration(bundle: Path, weights: dict[str, float]) -> None:
    """Give a bundle a calibration, or another one. Raises InputError where it names an unknown part of a score."""
    _save(bundle, [], calibration=weights)


def _save(bundle: Path, written: Sequence[str], **changes: Any) -> None:
    """Change the manifest, with the checksums of the files that were written. Raises InputError for wrong fields."""
    held = Manifest.load(bundle)
    files = {**held.files, **{name: sha256(bundle / name) for name in written}}
    changed = replace(held, files=dict(sorted(files.items())), **changes)
    try:
        changed.validate()
    except ValueError as error:
        raise InputError(f"the manifest of {bundle} is as it was: {error}") from error
    changed.save(bundle)


def main(arguments: Sequence[str] | None = None) -> None:
    """Change the bundle in place."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--querybank", type=Path, help="text file with a query on each line")
    parser.add_argument("--inverse-temperature", type=float, default=INVERSE_TEMPERATURE, help="of the querybank (20)")
    parser.add_argument("--weight", type=float, default=1.0, help="of hubness (1)")
    parser.add_argument(
        "--learnt", type=Path, action="append", help="table of captions whose split train counts; may be repeated"
    )
    parser.add_argument("--calibration", type=Path, help="JSON file with the weights of benchmarks/calibration.py")
    options = parser.parse_args(arguments)
    if options.querybank:
        queries = read_captions(options.querybank)
        add_querybank(options.bundle, queries, inverse_temperature=options.inverse_temperature, weight=options.weight)
    if options.learnt:
        add_learnt(
            options.bundle,
            [text for path in options.learnt for text in CaptionTable.read(path).split("train").captions],
        )
    if options.calibration:
        add_calibration(options.bundle, decode_json(options.calibration.read_text("utf-8")))


if __name__ == "__main__":
    main()
