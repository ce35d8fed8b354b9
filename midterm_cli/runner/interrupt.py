"""Ctrl-C and SIGTERM: what they do to the process, and how it ends by them.

end_at_once    before a run has a stage, while libraries are imported, and after it: an exception
raised inside them would show as a traceback, or be swallowed
unwinding      while there is a stage or a temporary folder: an exception, so that these are
cleaned up; a second signal ends the process at once, which loses nothing either
end_silently   once the command is done
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# True before a run, and after it, when its path is printed.
_NOTHING_LOST = b"Interrupted, and nothing is lost: start the same command again\n"


class Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM): it stops as on Ctrl-C."""


def end_at_once() -> None:
    """From here on a signal ends the process at once, with a line that says so.

    For a process that is all ours: not for a notebook's kernel.
    """
    _handle(_end_with_a_line)


def _end_with_a_line(number: int, frame: FrameType | None) -> NoReturn:
    # Past Python's buffers, whose lock the interrupted code may hold.
    with suppress(OSError):
        os.write(2, _NOTHING_LOST)
    end(number)


def end_silently() -> None:
    """From here on a signal does what it does by default: the command is done."""
    _handle(signal.SIG_DFL)


@contextmanager
def unwinding() -> Iterator[None]:
    """The first signal raises KeyboardInterrupt, or Terminated; a second ends a process of ours.

    Signals reach the main thread alone: in another one nothing is changed.
    """
    import threading  # here, as a signal before `end_at_once` shows a traceback

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    is_ours = _end_with_a_line in before.values()

    def handle(number: int, frame: FrameType | None) -> NoReturn:
        if is_ours:
            end_silently()
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    _handle(handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # one that was not set from Python cannot be set again
                signal.signal(number, handler)


def _handle(handler: signal._HANDLER) -> None:
    for number in _SIGNALS:
        # A background job of a script, or a command under nohup, is started with signals ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def end(number: int) -> NoReturn:
    """End this process because of a signal, without waiting for its threads.

    By SIGINT itself, which a shell reports as 130: after a process that exits with 130, a loop in
    a shell script runs the next command, as if Ctrl-C had been handled. On Windows no process ends
    by a signal.
    """
    if number == signal.SIGINT and sys.platform != "win32":
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(128 + number)
