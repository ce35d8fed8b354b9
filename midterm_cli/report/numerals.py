"""Numbers as text. A number that a run does not have, null in its metrics.json, is a dash."""

from __future__ import annotations

from collections.abc import Sequence

from midterm_cli.part3.lr_sweep.schema import FailureThreshold
from midterm_cli.part3.schema import Interval

NONE = "–"

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def short(number: float | None, digits: int = 3) -> str:
    """Significant digits, trailing zeros left out: 0.0162, 5.8 × 10⁻¹⁶."""
    return NONE if number is None else _typeset(f"{number:z.{digits}g}")


def significant(number: float | None, digits: int = 3) -> str:
    """Significant digits, trailing zeros too: 0.560, 12.3."""
    return NONE if number is None else _typeset(f"{number:z#.{digits}g}")


def _typeset(text: str) -> str:
    mantissa, e, exponent = text.partition("e")
    power = f" × 10{str(int(exponent)).translate(_SUPERSCRIPTS)}" if e else ""
    return mantissa.rstrip(".").replace("-", "−") + power


def latex(number: float | None, digits: int = 3) -> str:
    """The same within mathematics."""
    if number is None:
        return rf"\text{{{NONE}}}"
    mantissa, e, exponent = f"{number:z.{digits}g}".partition("e")
    return mantissa + (rf" \times 10^{{{int(exponent)}}}" if e else "")


def fixed(number: float | None, places: int = 3) -> str:
    """So many decimal places."""
    return NONE if number is None else f"{number:z.{places}f}".replace("-", "−")


def count(number: int | None) -> str:
    """A whole number, its thousands set apart."""
    return NONE if number is None else f"{number:,}"


def shape(sizes: Sequence[int]) -> str:
    """Sizes along the axes: 16 × 6 × 6."""
    return " × ".join(map(count, sizes))


def lr(found: float | None, otherwise: str = "none of the learning rates tried") -> str:
    """A learning rate that a sweep found, or not."""
    return otherwise if found is None else short(found)


def interval(found: Interval | None, places: int = 3, seeds: int | None = None) -> str:
    """An estimate with its interval; of how many seeds, where it is not of all `seeds`."""
    if found is None:
        return NONE
    estimate = fixed(found.estimate, places)
    of = f" ({found.total} of {seeds} seeds)" if seeds not in (None, found.total) else ""
    if found.low is None:
        return f"{estimate} (one seed: no interval)"
    return f"{estimate} [{fixed(found.low, places)}, {fixed(found.high, places)}]{of}"


def short_interval(found: FailureThreshold | None, digits: int = 3) -> str:
    """The same by significant digits."""
    if found is None:
        return NONE
    estimate, low, high = (short(end, digits) for end in (found.estimate, found.low, found.high))
    return f"{estimate} [{low}, {high}]"
