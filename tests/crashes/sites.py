"""Which calls that write come from one place of the program: a slow command is tried at the first of each."""

from __future__ import annotations

import ctypes
from types import FrameType
from typing import Any

Lines = tuple[tuple[str, int], ...]


class Sites:
    """A trace for `sys.settrace`: `first` has the number of the first call of each function from each stack of lines.

    Lines are the program's own. What another thread writes counts for the line that this one is at.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self.first: dict[tuple[Lines, bytes], int] = {}
        self._library, self._lines, self._count = library, Lines(), 0
        library.fault_call.restype = ctypes.c_char_p

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        if "/shan_" not in frame.f_code.co_filename:
            return None
        for number in range(self._count + 1, self._library.fault_count() + 1):
            self.first.setdefault((self._lines, self._library.fault_call(number)), number)
            self._count = number
        self._lines = _own_lines(frame.f_back if event == "return" else frame)
        return self


def _own_lines(frame: FrameType | None) -> Lines:
    lines = []
    while frame:
        if "/shan_" in frame.f_code.co_filename:
            lines.append((frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return tuple(lines)
