"""Which files and folders of a collection are left out: patterns with the rules of `.gitignore`.

A pattern given by the caller counts before those of `.shanignore` files, of which a deeper folder's count first; the
built-in ones count last. So `!.hidden/` in a `.shanignore` takes in a hidden folder.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pathspec import GitIgnoreSpec

from shan_engine.base.errors import InputError, first_line, unread

# A pattern that means something else in later versions of Python is no fault of the user's.
warnings.filterwarnings("ignore", category=FutureWarning, module=r"pathspec\.")
IGNORE_FILE = ".shanignore"
BUILT_IN = (
    ".*",
    "@eaDir/",  # Synology's thumbnails
    "@Recycle/",
    r"\#recycle/",
    "$RECYCLE.BIN/",
    "Thumbs.db",
    "*.lrdata/",  # Lightroom's previews
    "*.photoslibrary/resources/",  # thumbnails of Apple's Photos
)
"""Left out unless a pattern of the user's takes them in: hidden files, thumbnails, recycle bins."""


@dataclass(frozen=True)
class IgnoreRules:
    """The patterns that hold in a folder, each set with the folder that it belongs to, the first to count first."""

    asked: GitIgnoreSpec
    files: tuple[tuple[str, GitIgnoreSpec], ...] = ()

    @classmethod
    def of(cls, patterns: Sequence[str]) -> IgnoreRules:
        """The caller's patterns. Raises InputError for one that is none."""
        return cls(_spec(patterns, "--exclude"))

    def below(self, folder: str, file: Path) -> IgnoreRules:
        """With those of a folder's `.shanignore`, `folder` being its path below the root, with a final slash.

        Raises InputError if the file cannot be read.
        """
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise InputError(f"{file} is not UTF-8 text: save it as such") from error
        except OSError as error:
            raise InputError(unread(file, error, f"{file} was deleted just now: run again")) from error
        return replace(self, files=((folder, _spec(lines, str(file))), *self.files))

    def leave_out(self, path: str) -> bool:
        """Whether a path below the root is left out; that of a folder ends in a slash."""
        for folder, spec in (("", self.asked), *self.files, ("", _BUILT_IN)):
            included = spec.check_file(path.removeprefix(folder)).include if len(spec) else None
            if included is not None:
                return included
        return False


_ASTERISKS = re.compile(r"(?<!\\)\*{3,}")  # mean the same as one, and take endless time to compare


def _spec(patterns: Sequence[str], source: str) -> GitIgnoreSpec:
    try:
        return GitIgnoreSpec.from_lines(_ASTERISKS.sub("*", pattern) for pattern in patterns)
    except (ValueError, re.error) as error:
        fault = first_line(error)
        raise InputError(f"{source} has an invalid pattern ({fault}): write it as in a .gitignore") from error


_BUILT_IN = GitIgnoreSpec.from_lines(BUILT_IN)
