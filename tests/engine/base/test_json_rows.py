"""Rows of JSON are decoded as the standard library decodes them, however a file's name is spelt."""

from __future__ import annotations

import json
import os

import pytest
from shan_engine.base.json_rows import decode_row


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("value", [{"id": os.fsdecode(b"caf\xe9.jpg")}, {"id": "été"}, {"x": [1, 2.5, None, True]}])
def test_names_that_are_no_unicode_come_back(value, ascii_only):
    row = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogateescape")
    assert decode_row(row) == value
    assert decode_row(memoryview(row)) == value


def test_what_is_no_json_is_refused():
    with pytest.raises(ValueError, match="Expecting"):
        decode_row(b'{"id": ')
