"""What a command answered, for the tests that call commands."""

from typing import NamedTuple


class Answer(NamedTuple):
    """Exit code, stdout and stderr."""

    code: int
    out: str
    err: str
