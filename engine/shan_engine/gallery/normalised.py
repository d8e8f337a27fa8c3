"""The same gallery with other scores: less the hubness by the bundle's own querybank, or less none.

A gallery that stores `hubness` is normalised in every command. One that stores `bank_hubness` is normalised only where
that is asked for, as `search` does by default.
"""

from __future__ import annotations

from collections import ChainMap
from typing import cast

import numpy as np
from msgspec.structs import replace

from shan_engine.base.packing import Arrays
from shan_engine.bundle.contents import Bundle
from shan_engine.gallery.reader import Gallery
from shan_engine.gallery.storage import BANK_HUBNESS, HUBNESS


def normalised(gallery: Gallery, bundle: Bundle) -> Gallery:
    """The gallery less its `bank_hubness`, as the bundle weighs that; unchanged if it is normalised or has none."""
    stored, weight = gallery.manifest.arrays, np.float32(bundle.manifest.querybank.get("weight", 0))
    if HUBNESS in stored or BANK_HUBNESS not in stored or not weight:
        return gallery
    blocks = [
        block.presented(lambda arrays: ChainMap({HUBNESS: arrays[BANK_HUBNESS] * weight}, cast(Arrays, arrays)))
        for block in gallery.blocks
    ]
    return gallery.of_blocks(replace(gallery.manifest, arrays={**stored, HUBNESS: ()}), blocks)


def raw(gallery: Gallery) -> Gallery:
    """The gallery with no hubness subtracted."""
    if HUBNESS not in gallery.manifest.arrays:
        return gallery
    shapes = {name: shape for name, shape in gallery.manifest.arrays.items() if name != HUBNESS}
    blocks = [
        block.presented(lambda arrays: {name: arrays[name] for name in arrays if name != HUBNESS})
        for block in gallery.blocks
    ]
    return gallery.of_blocks(replace(gallery.manifest, arrays=shapes), blocks)
