"""The process of `midterm`, and of `python -m midterm_cli`: how it begins and how it ends."""

import os
import sys
from io import TextIOWrapper

from midterm_cli.runner import interrupt

_LOW_LIMIT = 4096  # processes and threads of a user


def main() -> int:
    """Run the command line of this process; returns the exit code, unless a signal ends it."""
    _open_closed_streams()
    interrupt.end_at_once()  # before anything else is imported
    if isinstance(sys.stdout, TextIOWrapper):  # in a notebook it is none
        # A console of another encoding, such as cp1252, does not hold every character of ours.
        sys.stdout.reconfigure(errors="replace")
    from midterm_cli.launch.quota import cpu_quota

    if quota := cpu_quota():  # before torch is imported, which takes all cores of the machine
        os.environ.setdefault("OMP_NUM_THREADS", str(quota))
    _limit_threads()
    import logging

    # Where it has no folder for its cache, matplotlib says so, in words that are not ours.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from midterm_cli import cli
    from midterm_cli.cli.exit_codes import INTERRUPTED, TERMINATED

    code = cli.main()
    interrupt.end_silently()
    if code in (INTERRUPTED, TERMINATED):
        interrupt.end(code - 128)
    return code


def _limit_threads() -> None:
    """Compute in one thread where a low `ulimit -u` leaves no room for those that are wanted.

    Where they lack one, OpenBLAS sends SIGINT and libgomp exits with 1.
    """
    if sys.platform == "win32":
        return
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if not 0 <= limit < _LOW_LIMIT:  # unlimited is -1, or very large
        return
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    num_threads = int(wanted) if wanted.isdecimal() else cores
    if num_threads > 1 and not _can_start(2 * num_threads):  # NumPy's and PyTorch's
        for library in ("OMP", "OPENBLAS", "MKL"):
            os.environ[f"{library}_NUM_THREADS"] = "1"


def _can_start(num_threads: int) -> bool:
    from threading import Event, Thread

    started, over = [], Event()
    try:
        for _ in range(num_threads):
            thread = Thread(target=over.wait)
            thread.start()
            started.append(thread)
    except RuntimeError:
        return False
    finally:
        over.set()
        for thread in started:
            thread.join()
    return True


def _open_closed_streams() -> None:
    """Open what `2>&-` closed: a file would get its number, and our talk be written into it."""
    while (null := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(null)
    sys.stdin = sys.stdin or os.fdopen(0)
    sys.stdout = sys.stdout or os.fdopen(1, "w", buffering=1)
    sys.stderr = sys.stderr or os.fdopen(2, "w", buffering=1, errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
