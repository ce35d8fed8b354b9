"""Expressions as text and as LaTeX."""

from __future__ import annotations

from midterm_cli.part1.expression import Binary, Call, Expr, Name, Negative, Number

_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2, "**": 4}
_ATOM = 5


def _precedence(expr: Expr) -> int:
    match expr:
        case Binary(operator, _, _):
            return _PRECEDENCE[operator]
        case Negative(_):
            return 1
        case _:
            return _ATOM


def to_text(expr: Expr) -> str:
    """As it would be typed; reading it again gives the same tree."""
    match expr:
        case Number(text) | Name(text):
            return text
        case Call(function, argument):
            return f"{function}({to_text(argument)})"
        case Negative(argument):
            return "-" + _grouped(argument, _PRECEDENCE["**"])
        case Binary("**", left, right):
            return f"{_grouped(left, _ATOM)}**{_grouped(right, _ATOM)}"
        case Binary(operator, left, right):
            level = _PRECEDENCE[operator]
            return f"{_grouped(left, level)} {operator} {_grouped(right, level + 1)}"


def _grouped(expr: Expr, level: int) -> str:
    return to_text(expr) if _precedence(expr) >= level else f"({to_text(expr)})"


def to_latex(expr: Expr) -> str:
    """As mathematics, without the delimiters of a formula."""
    match expr:
        case Number("pi"):
            return r"\pi"
        case Number(text):
            mantissa, _, exponent = text.partition("e")
            return rf"{mantissa} \cdot 10^{{{int(exponent)}}}" if exponent else text
        case Name(name):
            return name_latex(name)
        case Call("sqrt", argument):
            return rf"\sqrt{{{to_latex(argument)}}}"
        case Call("exp", argument):
            return rf"e^{{{to_latex(argument)}}}"
        case Call(function, argument):
            command = {"asin": r"\arcsin", "acos": r"\arccos", "atan": r"\arctan"}
            return rf"{command.get(function, chr(92) + function)}\left({to_latex(argument)}\right)"
        case Negative(argument):
            return "-" + _grouped_latex(argument, 2)
        case Binary("/", left, right):
            return rf"\frac{{{to_latex(left)}}}{{{to_latex(right)}}}"
        case Binary("**", left, right):
            return rf"{_grouped_latex(left, _ATOM)}^{{{to_latex(right)}}}"
        case Binary("*", left, right):
            sign = " " if isinstance(left, Number) and not _starts_with_digit(right) else r" \cdot "
            return _grouped_latex(left, 2) + sign + _grouped_latex(right, 2)
        case Binary(operator, left, right):
            return f"{_grouped_latex(left, 1)} {operator} {_grouped_latex(right, 2)}"


def _grouped_latex(expr: Expr, level: int) -> str:
    match expr:
        case Call("exp", _):  # printed as a power of e
            precedence = _PRECEDENCE["**"]
        case Number(text) if "e" in text and text != "e":  # printed as a product
            precedence = _PRECEDENCE["*"]
        case _:
            precedence = _precedence(expr)
    return to_latex(expr) if precedence >= level else rf"\left({to_latex(expr)}\right)"


def _starts_with_digit(expr: Expr) -> bool:
    match expr:
        case Number(_):
            return True
        case Binary("*" | "**", left, _):
            return _starts_with_digit(left)
        case _:
            return False


def name_latex(name: str) -> str:
    """`y` as y, `u1` as u with the index 1, longer names upright."""
    letters = name.rstrip("0123456789")
    index = name[len(letters) :]
    letters = letters.rstrip("_")
    body = letters if len(letters) == 1 else rf"\mathrm{{{letters}}}".replace("_", r"\_")
    return f"{body}_{{{index}}}" if index else body
