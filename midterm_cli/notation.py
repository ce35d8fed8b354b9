r"""Formulas as people type and paste them, in Python's notation.

3x², 3x^2, |x|, a · b, 2π and \frac{x}{2} have one reading each, and are rewritten. What has two,
such as 1/2x, is refused with both of them. What is Python already comes out as it went in.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from typing import NamedTuple

from midterm_cli.errors import UserError
from midterm_cli.text import printable, shown

_SYMBOLS = str.maketrans(
    {
        **dict.fromkeys("−–﹣－", "-"),
        **dict.fromkeys("×·⋅∙∗", "*"),
        **dict.fromkeys("÷∕⁄", "/"),
        **{"π": " pi ", "√": " sqrt "},
    }
)
_COMMANDS = {"cdot": "*", "times": "*", "div": "/", "pi": " pi ", "left": "", "right": ""}
_RAISED_DIGITS = "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"
_RAISED = str.maketrans(_RAISED_DIGITS, "-0123456789")
_TWO_READINGS = (
    (
        re.compile(r"(?<![\w.])\d+\s*\\[dt]?frac\s*\{\s*\d+\s*\}\s*\{\s*\d+\s*\}"),
        "2 + 1/2 or 2*(1/2)",
    ),
    (re.compile(r"[⁰¹²³⁴-⁹]\s*√"), "x^(1/3) for a cube root, or x^3*sqrt(…)"),
    (
        re.compile(r"(?<![\w.])\d[\d.]*(\s+[eE]\s*[-+]|[eE]\s+[-+]|[eE][-+]\s)\s*\d"),
        "2e-3 for the number, or 2*e - 3",
    ),
)
_NO_OPERAND = ("+", "-", "*", "/", "**", "^", "(")
_KEYWORDS = {"and", "or", "not", "if", "else", "in", "is", "lambda", "for"}
_TOKEN = re.compile(
    r"""(?P<space>  \s+)
      | (?P<number> (\d[\d_]*(\.[\d_]*)?|\.\d[\d_]*) ([eE][+-]?\d+)?)
      | (?P<raised> ⁻?[⁰¹²³⁴-⁹]+)
      | (?P<name>   [^\W\d⁰¹²³⁴-⁹][^\W⁰¹²³⁴-⁹]*)
      | (?P<power>  \*\*|\^)
      | (?P<other>  .)""",
    re.VERBOSE | re.DOTALL,
)


class _Token(NamedTuple):
    kind: str
    text: str

    @property
    def starts_operand(self) -> bool:
        return self.kind == "number" or self.text == "(" or self.is_name

    @property
    def ends_operand(self) -> bool:
        return self.kind in ("number", "raised") or self.text == ")" or self.is_name

    @property
    def is_name(self) -> bool:
        return self.kind == "name" and self.text not in _KEYWORDS


_NONE = _Token("", "")


def to_python(text: str, functions: Collection[str]) -> str:
    """Rewrite a formula in Python's notation.

    Args:
        text: one formula.
        functions: the names that take an argument in brackets.

    Raises:
        UserError: a part has two readings, or none; the message has the right spelling.
    """
    for pattern, readings in _TWO_READINGS:
        if match := pattern.search(text):
            raise UserError(f"{shown(match[0].strip())} has two readings: write {readings}")
    if "\\" in text or "{" in text:
        text = _from_latex(text, functions)
    _require_plain_letters(text)
    tokens = [
        _Token(str(match.lastgroup), match.group())
        for match in _TOKEN.finditer(text.translate(_SYMBOLS))
    ]
    return "".join(_with_products(_with_abs(tokens), functions)).strip()


def _require_plain_letters(text: str) -> None:
    """Refuse raised and lowered letters, which Python would read as plain ones: 2ˣ as 2x.

    Raises:
        UserError: names the letter, and what to write.
    """
    for character in text:
        kind, _, _ = unicodedata.decomposition(character).partition(" ")
        if kind in ("<super>", "<sub>") and character not in _RAISED_DIGITS:
            plain = unicodedata.normalize("NFKC", character)
            remedy = f"^{plain} for a power" if kind == "<super>" else "a name without an index"
            raise UserError(f"{shown(character)} is not read here: write {remedy}")


def _from_latex(text: str, functions: Collection[str]) -> str:
    """Fractions as quotients, groups as brackets, commands as names."""
    text = re.sub(r"\\left\s*\|", " abs(", re.sub(r"\\right\s*\|", ")", text))
    text = re.sub(r"\\([,;:! ]|q?quad(?![A-Za-z]))", " ", text)
    if root := re.search(r"\\sqrt\s*\[([^\]]*)\]?", text):
        raise UserError(f"{printable(root[0])} is not read here: write u^(1/{_plain(root[1])})")
    if base := re.search(r"\\log\s*_\s*(\{[^}]*\}?|\w?)", text):
        remedy = f"log(u)/log({_plain(base[1])})"
        raise UserError(f"{printable(base[0])} is not read here: write {remedy}")
    while fraction := re.search(r"\\[dt]?frac(?![A-Za-z])", text):
        above, rest = _group(text[fraction.end() :])
        below, rest = _group(rest)
        text = f"{text[: fraction.start()]}(({above})/({below})){rest}"

    def name(command: re.Match[str]) -> str:
        if command[1] in functions:
            return f" {command[1]}"
        if command[1] in _COMMANDS:
            return _COMMANDS[command[1]]
        raise UserError(
            f"{printable(command[0])} is not read here: of LaTeX, \\frac, \\sqrt, \\cdot, \\pi, "
            "\\left, \\right and the functions are"
        )

    return re.sub(r"\\([A-Za-z]*)", name, text).replace("{", "(").replace("}", ")")


def _plain(index: str) -> str:
    return printable(index.strip("{} ")) or "n"


def _group(text: str) -> tuple[str, str]:
    """What is in the braces that a text begins with, and what follows them."""
    text = text.lstrip()
    depth = 0
    for i, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            if i == 0:  # no brace
                break
            return text[1:i], text[i + 1 :]
    raise UserError("a \\frac is not complete: write \\frac{…}{…}")


def _with_abs(tokens: Sequence[_Token]) -> list[_Token]:
    """|…| as abs(…).

    Raises:
        UserError: a bar is not closed, or may open as well as close.
    """
    found: list[_Token] = []
    brackets: list[str] = []
    to_come = sum(token.text == "|" for token in tokens)
    for i, token in enumerate(tokens):
        if token.text == "|":
            to_come -= 1
            if not (_last(found).ends_operand and brackets[-1:] == ["|"]):
                brackets.append("|")
                found += [_Token("name", "abs"), _Token("other", "(")]
                continue
            following = _last(tokens[:i:-1])
            goes_on = following.starts_operand or following.text == "|"
            if goes_on and to_come > brackets.count("|"):
                raise UserError("a | in the formula may open or close: write abs(x) for |x|")
            brackets.pop()
            token = _Token("other", ")")
        elif token.text == "(":
            brackets.append("(")
        elif token.text == ")" and brackets and brackets.pop() == "|":
            raise UserError("a | in the formula is not closed: write abs(x) for |x|")
        found.append(token)
    if "|" in brackets:
        raise UserError("a | in the formula is not closed: write abs(x) for |x|")
    return found


def _with_products(tokens: Sequence[_Token], functions: Collection[str]) -> list[str]:
    """Write * where a product is meant, and ** for a power.

    Raises:
        UserError: a product or a power has two readings, or none.
    """
    out: list[str] = []
    last = _NONE
    # The / or ** whose right operand ends here, what stood before a **, where the operand begins,
    # and for each open bracket what holds after it.
    after, before, start = "", "", 0
    closing: list[str] = []
    for token in tokens:
        if token.kind == "space":
            out.append(" ")
            continue
        text = token.text
        _require_argument(last, token, functions)
        if last.ends_operand and token.starts_operand and not (last.is_name and text == "("):
            _require_one_reading(last, token, after, "".join(out[start:]).strip(), functions)
            out.append("*")
        if token.kind in ("power", "raised") and (last is _NONE or last.text in _NO_OPERAND):
            raise UserError(f"{shown(text)} has nothing before it that is raised: write x^2")
        if last.kind == "raised" and token.kind == "power":
            raise UserError(f"{shown(f'{last.text}{text}')} has two readings: put one in brackets")
        if after == "**" and token.kind == "raised":
            power = "".join(out[start:]).strip()
            raise UserError(f"{shown(f'^{power}{text}')} has two readings: put one in brackets")
        if token.kind == "power":
            before, after = after, "**"
            start, text = len(out) + 1, "**"
        elif token.kind == "raised":
            text = "**" + text.translate(_RAISED)
        elif text == "/":
            after, start = "/", len(out) + 1
        elif text == "(":
            closing.append(before if last.kind == "power" else after)
            after = ""
        elif text == ")":
            after = closing.pop() if closing else ""
        elif not token.ends_operand and (text not in ("+", "-") or last.ends_operand):
            after = ""  # another operator than a sign
        out.append(text)
        last = token
    return out


def _require_argument(last: _Token, token: _Token, functions: Collection[str]) -> None:
    """Refuse sin x and sin²(x)."""
    if last.text not in functions:
        return
    name = last.text
    if token.kind in ("power", "raised"):
        inverse = f", and a{name}(x) for the inverse" if f"a{name}" in functions else ""
        raise UserError(
            f"{name} has no argument before its power: write {name}(x)**2 for the square{inverse}"
        )
    if token.starts_operand and token.text != "(":
        raise UserError(f"{name} has no brackets: write {name}(…) around its argument")


def _require_one_reading(
    last: _Token, token: _Token, after: str, operand: str, functions: Collection[str]
) -> None:
    """Refuse a product without * after a quotient or a power, such as 1/2x, or before a number."""
    if token.kind == "number" and last.kind == "number" and token.text.startswith("."):
        raise UserError(f"{shown(f'{last.text}{token.text}')} is no number")
    if token.kind == "number":
        raise UserError(f"{shown(f'{last.text} {token.text}')} is no product: write * between")
    if after:
        factor = f"{token.text}(…)" if token.text in functions else token.text.replace("(", "(…)")
        written = "^" if after == "**" else after
        raise UserError(
            f"{shown(f'{written}{operand}{token.text}')} has two readings: write "
            f"{printable(f'{after}({operand}*{factor}) or {after}{operand}*{factor}')}"
        )


def _last(tokens: Sequence[_Token]) -> _Token:
    """The last token that is not a space."""
    return next((token for token in reversed(tokens) if token.kind != "space"), _NONE)
