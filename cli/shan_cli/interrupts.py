"""Ctrl-C and SIGTERM raise KeyboardInterrupt where it does no harm, and it is remembered that one came."""

from __future__ import annotations

import signal
from threading import Timer, main_thread
from types import FrameType

_IMPORTS = "<frozen importlib"
_AGAIN = 0.01  # seconds
_heard = False
_again: Timer | None = None


def heed() -> None:
    """Heed both signals from now on, SIGTERM also as a container's process 1, which otherwise would not.

    Ctrl-C stays ignored where it was, as in a shell's background job.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _as_interrupt)


def came() -> bool:
    """Whether one came, which is then not raised any more.

    A library that is interrupted may raise something else, such as an ImportError.
    """
    if _again:
        _again.cancel()
    return _heard


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _heard, _again
    _heard = True
    if frame and frame.f_code.co_filename.startswith(_IMPORTS) and hasattr(signal, "pthread_kill"):  # not on Windows
        # It may just have taken the lock of all imports, which an exception would leave locked for all threads.
        _again = Timer(_AGAIN, signal.pthread_kill, (main_thread().ident, number))
        _again.start()
        return
    raise KeyboardInterrupt


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    handler = signal.getsignal(signal.SIGINT)
    (handler if callable(handler) else _interrupt)(number, frame)
