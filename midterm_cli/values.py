"""Config values as people type them: pi/2, lists such as 3,4 and 64,32, rows such as 2 1; 1 -1.

Each function takes any value of a config. What is not text, and text that does not read as numbers,
comes back as it is, for the config to name its key.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import warnings
from collections.abc import Callable

from midterm_cli.errors import UserError
from midterm_cli.notation import to_python

_LONGEST = 100
_NO_NUMBER = re.compile(r".*\d[eE](?![-+−]?\d).*|\d+([-−]\d+)+")
"""1e, which lacks its exponent, and 10-3 or 2001-01-31, which are no differences."""
_PLAIN = re.compile(r"[-+−]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_OPERATORS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


def number(value: object) -> object:
    """Read pi/2, sqrt(2) or 2^-3 as a number.

    Raises:
        ValueError: it has two readings, such as 1/2pi.
    """
    if not isinstance(value, str) or len(value) > _LONGEST or _NO_NUMBER.fullmatch(value):
        return value
    if re.fullmatch(r"\s*[-+]?(inf|infinity|nan)\s*", value, re.IGNORECASE):
        return float(value)  # which is refused as such
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of oddities such as `1or 2`
            return _evaluate(ast.parse(to_python(value.strip(), {"sqrt"}), mode="eval").body)
    except UserError as error:
        raise ValueError(str(error)) from None
    except (SyntaxError, ArithmeticError, ValueError):  # no formula; 1/0, sqrt(-1); other words
        return value


def _evaluate(node: ast.AST) -> float:
    match node:
        case ast.Constant(value=int() | float() as constant) if not isinstance(constant, bool):
            return constant
        case ast.Name(id="pi"):
            return math.pi
        case ast.Name(id="e"):
            return math.e
        case ast.Call(func=ast.Name(id="sqrt"), args=[argument], keywords=[]):
            return math.sqrt(_evaluate(argument))
        case ast.BinOp(left=left, op=symbol, right=right) if type(symbol) in _OPERATORS:
            return _OPERATORS[type(symbol)](_evaluate(left), _evaluate(right))
        case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _OPERATORS:
            return _OPERATORS[type(sign)](_evaluate(operand))
    raise ValueError


def numbers(value: object) -> object:
    """Read 3,4 or 3 4 as a list of numbers, also inside a list, and a number as `number` does.

    Raises:
        ValueError: as `number`.
    """
    if isinstance(value, list):
        read = [numbers(item) if isinstance(item, str) else item for item in value]
        return [inner for item in read for inner in (item if isinstance(item, list) else [item])]
    if isinstance(value, str) and "," in value:
        found = [number(part) for part in value.split(",")]
        return value if any(isinstance(part, str) for part in found) else found
    parts = value.split() if isinstance(value, str) else []
    if len(parts) > 1 and all(map(_PLAIN.fullmatch, parts)):
        return [number(part) for part in parts]
    return number(value)


def as_list(value: object) -> object:
    """Read as `numbers`, one number as a list of one."""
    found = numbers(value)
    return [found] if isinstance(found, int | float) else found


def rows(value: object) -> object:
    """Read 2 1; 1 -1 as a list of rows: ; between rows, commas or spaces between numbers."""
    if isinstance(value, list):
        return [numbers(row) if isinstance(row, list) else row for row in value]
    if not isinstance(value, str):
        return value
    try:
        found = [
            [number(part) for part in re.split(r"\s*,\s*|\s+", row.strip())]
            for row in re.split("[;\n]", value.strip().removesuffix(";"))
        ]
    except ValueError:  # the name of a file
        return value
    return value if any(isinstance(part, str) for row in found for part in row) else found


def vector(value: object) -> object:
    """Read 3 4, 3,4 or 3; 4 as a list of numbers."""
    if isinstance(value, list):
        return numbers(value)
    found = rows(value)
    if not isinstance(found, list):
        return found
    if len(found) == 1:
        return found[0]
    return [row[0] for row in found] if all(len(row) == 1 for row in found) else found
