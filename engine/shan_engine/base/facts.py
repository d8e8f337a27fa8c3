"""A photo's own metadata: the columns that every photo of `extract` has, with or without a table.

They come from EXIF, IPTC, XMP, XMP side-cars and the JSON files of Google Takeout. docs/collections.md lists them.
"""

from __future__ import annotations

from collections.abc import Mapping

from shan_engine.base.column_types import INTEGER, REAL, TEXT, Value

Facts = Mapping[str, Value]
"""Values by the names of FACTS; what is not known is left out."""

COPIES = "copies"
"""The column of an image's other places. It comes from the store, not from the photo."""
FACTS = {
    "taken": TEXT,  # YYYY-MM-DD HH:MM:SS on the camera's clock
    "taken_zone": TEXT,  # +HH:MM
    "camera": TEXT,
    "camera_make": TEXT,
    "lens": TEXT,
    "orientation": INTEGER,  # EXIF's 1 to 8
    "width": INTEGER,  # pixels of the upright photo
    "height": INTEGER,
    "latitude": REAL,  # degrees, north positive
    "longitude": REAL,  # degrees, east positive
    "altitude": REAL,  # metres
    "town": TEXT,
    "region": TEXT,
    "country": TEXT,
    "title": TEXT,
    "description": TEXT,
    "keywords": TEXT,  # separated by "; "
    "rating": INTEGER,  # 0 to 5, -1 rejected
    COPIES: TEXT,  # paths of files with the same bytes, separated by "; "
}
"""The columns and their types, in the order in which they are stored and shown."""
