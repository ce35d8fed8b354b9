"""Numbers of a metrics.json as text. What is not a finite number is a damaged file (ValueError)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def value(number: Any) -> float:
    """The number itself; JSON lets text, null or 1e999 stand in its place."""
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ValueError(f"not a number: {number!r}")
    found = float(number)
    if not math.isfinite(found):
        raise ValueError(f"not a finite number: {number!r}")
    return found


def short(number: Any, digits: int = 3) -> str:
    """Significant digits, trailing zeros left out: 0.0162, 5.8 × 10⁻¹⁶."""
    text = f"{value(number):z.{digits}g}"
    mantissa, e, exponent = text.partition("e")
    power = f" × 10{str(int(exponent)).translate(_SUPERSCRIPTS)}" if e else ""
    return mantissa.replace("-", "−") + power


def latex(number: Any, digits: int = 3) -> str:
    """The same within mathematics."""
    mantissa, e, exponent = f"{value(number):z.{digits}g}".partition("e")
    return mantissa + (rf" \times 10^{{{int(exponent)}}}" if e else "")


def fixed(number: Any, places: int = 3) -> str:
    """So many decimal places."""
    return f"{value(number):z.{places}f}".replace("-", "−")


def count(number: Any) -> str:
    """A whole number, its thousands set apart."""
    if isinstance(number, bool) or not isinstance(number, int):
        raise ValueError(f"not a whole number: {number!r}")
    return f"{number:,}"


def interval(entry: Mapping[str, Any], places: int = 3) -> str:
    """An estimate with its interval, of an entry with the keys estimate, low and high."""
    estimate = fixed(entry["estimate"], places)
    if entry["low"] is None:
        return f"{estimate} (one seed: no interval)"
    return f"{estimate} [{fixed(entry['low'], places)}, {fixed(entry['high'], places)}]"


def short_interval(entry: Mapping[str, Any], digits: int = 3) -> str:
    """The same by significant digits."""
    estimate, low, high = (short(entry[key], digits) for key in ("estimate", "low", "high"))
    return f"{estimate} [{low}, {high}]"
