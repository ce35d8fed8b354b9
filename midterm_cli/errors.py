"""The errors that the terminal turns into a message; anything else is a bug of ours."""

import errno


class UserError(Exception):
    """A mistake of the user's: usage, config, data or device. The process ends with exit code 2.

    The message is one or two lines: what is wrong, with the value, and what to do.
    """


_MEMORY = (
    "can't allocate memory",  # PyTorch on the CPU
    "not enough memory",  # and on Windows
    "CUDA out of memory",
    "failed to map segment from shared object",  # the loader of libraries
)
_THREADS = "can't start new thread"


def exhausted(error: BaseException) -> str | None:
    """What to say where the machine, or a limit on it, has no more memory, processes or threads.

    Returns:
        A message as a UserError has it; None where the error is another one.
    """
    number = error.errno if isinstance(error, OSError) else None
    text = str(error)
    no_memory = isinstance(error, MemoryError) or number == errno.ENOMEM
    if no_memory or any(it in text for it in _MEMORY):
        return (
            "there is not enough memory\n"
            "free some, or ask for less: fewer seeds, a smaller network, one thread less "
            "(OMP_NUM_THREADS=1)"
        )
    if number == errno.EAGAIN or _THREADS in text:
        return (
            "no more processes or threads can be started\n"
            "end some, raise the limit (ulimit -u), or use fewer: OMP_NUM_THREADS=1"
        )
    return None
