"""Rows of JSON: many small ones are decoded fast."""

from __future__ import annotations

from typing import Any

import msgspec

from shan_engine.base.json_text import decode_json


def decode_row(row: bytes | memoryview) -> Any:
    """The value of a row of JSON. Bytes that are no UTF-8, as file names may have, become lone surrogates.

    Raises ValueError for what is not JSON.
    """
    try:
        return msgspec.json.decode(row)
    except (ValueError, RecursionError):  # it is stricter than json about surrogates
        return decode_json(bytes(row).decode("utf-8", "surrogateescape"))
