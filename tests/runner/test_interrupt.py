"""What a signal does, by what there is to be put in order."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from midterm_cli.runner import interrupt
from midterm_cli.runner.interrupt import Terminated


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The handlers of signals are restored."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_the_first_signal_unwinds_and_the_second_would_end_it_all(
    number: signal.Signals, error: type[BaseException]
) -> None:
    interrupt.end_at_once()
    before = signal.getsignal(number)

    def interrupted() -> None:
        try:
            os.kill(os.getpid(), number)
        finally:
            assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    with pytest.raises(KeyboardInterrupt) as caught, interrupt.unwinding():
        interrupted()

    assert caught.type is error
    assert signal.getsignal(number) is before


def test_a_second_signal_does_not_end_a_process_of_others() -> None:
    """Such as a notebook's kernel."""

    def interrupted() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), interrupt.unwinding():
        interrupted()


def test_signals_that_are_ignored_stay_ignored() -> None:
    """In the background of a script, Ctrl-C is not meant for us."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    with interrupt.unwinding():
        os.kill(os.getpid(), signal.SIGINT)
    interrupt.end_at_once()
    os.kill(os.getpid(), signal.SIGINT)

    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)]
)
def test_outside_of_a_run_the_process_ends_at_once(number: signal.Signals, code: int) -> None:
    """By SIGINT itself, as a shell has to see it to end its loop."""
    program = (
        "import os\nfrom midterm_cli.runner import interrupt\n"
        f"interrupt.end_at_once()\nos.kill(os.getpid(), {int(number)})\nprint('still here')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("Interrupted, and nothing is lost")
    assert done.stderr.count("\n") == 1


def test_on_windows_the_process_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    """os.kill would end it with 2, the code of a mistake."""
    codes: list[int] = []
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "_exit", codes.append)
    monkeypatch.setattr(os, "kill", lambda *_: codes.append(2))

    interrupt.end(signal.SIGINT)

    assert codes == [130]
