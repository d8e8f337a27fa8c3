"""Ctrl-C and SIGTERM end a command within a second, whatever it does."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from shan_cli.console import messages, say

GRACE = 0.6  # seconds


# How to go on after an interrupt, for commands that keep their finished work.
_KEEPS = {
    **dict.fromkeys(("extract", "index", "update"), "run the command again to go on"),
    **dict.fromkeys(("score", "train"), "run the command again to go on, without --restart"),
    "import": "run the command again with --replace",
}
_AT_ONCE = ("init", "extract", "index", "update", "watch")  # a kill leaves nothing of theirs half done


class Ending:
    """How a command ends on a signal: with a sentence that is said once, and some commands within a second.

    Python handles a signal once a call of a library returns, and waits for threads.
    """

    def __init__(self) -> None:
        self._sentence: str | None = "interrupted"

    def say(self) -> None:
        """Say that the command was interrupted, unless that has been said."""
        sentence, self._sentence = self._sentence, None
        if sentence is not None:
            say(sentence)

    def of(self, command: str) -> AbstractContextManager[None]:
        """How a command ends while the block runs, and after an interrupt until the process has ended."""
        if command in _KEEPS:
            self._sentence = f"interrupted: what was complete is kept; {_KEEPS[command]}"
        main = threading.current_thread() is threading.main_thread()
        return self._at_once() if command in _AT_ONCE and main else nullcontext()

    @contextmanager
    def _at_once(self) -> Iterator[None]:
        heard, told = socket.socketpair()
        told.setblocking(False)
        before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._await, args=(heard,), daemon=True).start()
        interrupted = False
        try:
            yield
        except KeyboardInterrupt:
            interrupted = True
            raise
        finally:
            if not interrupted:  # else threads may still hold up the end
                signal.set_wakeup_fd(before)
                told.close()

    def _await(self, heard: socket.socket) -> None:
        while number := heard.recv(1):
            if number[0] in (signal.SIGINT, signal.SIGTERM):
                time.sleep(GRACE)
                if messages.is_terminal:
                    messages.show_cursor()
                self.say()
                sys.stderr.flush()
                os._exit(130)
        heard.close()
