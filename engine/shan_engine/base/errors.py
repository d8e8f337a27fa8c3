"""The errors a user can meet. Each message says what is wrong, where, and what to do.

ShanError
├── InputError       a file, folder, caption or option that cannot be used as given
├── StoreError       a feature store that is missing, damaged, busy or of another schema
├── BundleError      a bundle that is missing, damaged or of another schema
├── GalleryError     a gallery that is missing, damaged or made by another bundle
└── BackendError     a device or run-time library that is not there or does not load
"""

from __future__ import annotations

import re
from pathlib import Path

_BREAKS = re.compile(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*")  # what ends a line, and blanks around it
LONGEST = 4000
"""Characters of a message; of a longer one the middle is left out, so that it still says what to do."""


class ShanError(Exception):
    """Base of all errors that a user can fix. The command line prints the message and exits with status 1.

    The message is one line, whatever it quotes: an error of another library, or the name of a file. It has at most
    `LONGEST` characters.
    """

    def __str__(self) -> str:
        message = _BREAKS.sub(" ", super().__str__())
        half = LONGEST // 2 - 2
        return message if len(message) <= LONGEST else f"{message[:half]} … {message[-half:]}"


class InputError(ShanError):
    """A file, folder, caption or option cannot be used as given."""


class StoreError(ShanError):
    """A feature store is missing, damaged, busy, or of another schema."""


class BundleError(ShanError):
    """A bundle is missing, damaged, or of another schema."""


class GalleryError(ShanError):
    """A gallery is missing, damaged, or was made by another bundle."""


class GalleryChangedError(GalleryError):
    """Another process has removed what was to be read of a gallery: open it again."""


class BackendError(ShanError):
    """A device or a run-time library is not there, or does not load."""


def unread(path: Path, error: OSError, missing: str) -> str:
    """Why a file could not be read: `missing` where it or its folder is not there, else what the system says."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return missing
    return f"cannot read {path}: {error.strerror or error}; check its permissions and its disk"


def first_line(error: BaseException) -> str:
    """What another library's error says, without the traceback or advice that may follow; its type if nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]
