"""Changes to a gallery that its checksums do not tell of, as another program or an older version would leave them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from shan_engine.base.manifests import digest
from shan_engine.gallery.storage import file_checksum, layout, row_checksums


def sign_fields(path: Path, **changes: Any) -> None:
    """Change fields of a manifest and its digest with them."""
    fields = {**json.loads(path.read_text("utf-8")), **changes}
    fields.pop("digest", None)
    path.write_text(json.dumps({**fields, "digest": digest(fields)}), "utf-8")


def sign_again(gallery: Path) -> None:
    """Make all checksums of a gallery those of the files as they are now."""
    manifest = json.loads((gallery / "manifest.json").read_text("utf-8"))
    for block in manifest["blocks"]:
        folder = gallery / "blocks" / block["name"]
        names = layout({name: tuple(shape) for name, shape in manifest["arrays"].items()}, manifest["dtype"])
        rows = row_checksums([np.load(folder / f"{name}.npy") for name in names], range(block["images"]))
        np.save(folder / "rows.npy", rows)
        block["files"] = {name: file_checksum(folder / name) for name in block["files"]}
    sign_fields(gallery / "manifest.json", **manifest)
