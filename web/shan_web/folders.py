"""Open the folder of a photo in the file manager of this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from shan_engine.base.errors import InputError


def open_folder(photo: Path) -> None:
    """Show a photo in its folder. Raises InputError where no file manager can be started."""
    if sys.platform == "darwin":
        command = ["open", "-R", str(photo)]
    elif sys.platform == "win32":
        command = ["explorer", f"/select,{photo}"]
    else:
        command = ["xdg-open", str(photo.parent)]
    nothing = subprocess.DEVNULL
    try:
        subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True)
    except OSError as error:
        raise InputError(f"{command[0]} cannot be started here: open the folder {photo.parent} yourself") from error
