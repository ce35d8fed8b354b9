"""Text to expressions, by a whitelist: nothing of the text is ever executed."""

from __future__ import annotations

import ast
import itertools
import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal, InvalidOperation

from midterm_cli.errors import UserError
from midterm_cli.notation import to_python
from midterm_cli.part1.autodiff.schema import MAX_LENGTH
from midterm_cli.part1.exponents import with_whole_exponents
from midterm_cli.part1.expression import (
    CONSTANTS,
    FUNCTIONS,
    Binary,
    Call,
    Expr,
    Name,
    Negative,
    Number,
    Program,
    Step,
    children,
    compose,
    constant,
    differentiate,
    names,
    nodes,
    with_children,
)
from midterm_cli.text import closest, printable, shortened, shown

MAX_DEPTH = 60
"""Levels of nested operations, when intermediates are substituted."""
MAX_POWER = 100
"""Largest constant exponent, and largest product of nested ones such as (x**10)**10."""
MAX_NODES = 2_000
"""Operations of a function when its intermediates are substituted: doubling names grow fast."""
MAX_SLOPE_NODES = 15_000
"""Operations of all derivatives of a function: nesting makes them grow fast."""

_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Pow: "**",
}


_ABBREVIATIONS = {
    "ln": "log(u)",
    "arcsin": "asin(u)",
    "arccos": "acos(u)",
    "arctan": "atan(u)",
    "abs": "sqrt(u**2)",
    "log2": "log(u)/log(2)",
    "log10": "log(u)/log(10)",
    "log1p": "log(1 + u)",
    "expm1": "exp(u) - 1",
    "exp2": "2**u",
    "sec": "1/cos(u)",
    "csc": "1/sin(u)",
    "cot": "1/tan(u)",
    "sech": "1/cosh(u)",
    "csch": "1/sinh(u)",
    "coth": "1/tanh(u)",
}
"""Functions that are read as a formula in FUNCTIONS, where u is the argument."""

_IN_WORDS = {
    "acot": "pi/2 - atan(u)",
    "asec": "acos(1/u)",
    "acsc": "asin(1/u)",
    "asinh": "log(u + sqrt(u**2 + 1))",
    "acosh": "log(u + sqrt(u**2 - 1))",
    "atanh": "log((1 + u)/(1 - u))/2",
    "sign": "u/sqrt(u**2)",
    "cbrt": "u**(1/3) for u > 0",
    "relu": "(u + sqrt(u**2))/2",
    "sgn": "u/sqrt(u**2)",
    "cosec": "1/sin(u)",
    "lg": "log10(u)",
    "ld": "log2(u)",
    "softplus": "log(1 + exp(u))",
    "sigmoid": "1/(1 + exp(-u))",
    "sinc": "sin(u)/u",
    "pow": "u**v",
    "max": "(u + v + sqrt((u - v)**2))/2",
    "min": "(u + v - sqrt((u - v)**2))/2",
    "tg": "tan(u)",
    "ctg": "1/tan(u)",
}
"""What to write for functions that have u more than once, or v, or another domain or name."""

_DERIVATIVE = r"^\s*([A-Za-z]\s*['′’]\s*(\(\s*x\s*\))?|d\s*[A-Za-z]\s*/\s*dx)\s*=(?!=)"
_CALLABLE = {*FUNCTIONS, *_ABBREVIATIONS, *_IN_WORDS}


def parse_program(text: str) -> Program:
    """Read a function of x, with or without named intermediates.

    Args:
        text: `sin(x**2)`, or `u = x**2; f = sin(u)`; the last part is the function's value and may
            be called f or y, or be left without a name.

    Returns:
        The steps. Without named intermediates the argument of each function becomes one of its own
        (u1, u2, …), so that the chain rule has terms to show.

    Raises:
        UserError: the text is too long, not a formula, or uses something that is not known.
    """
    _check_length(text)
    parts = [part.strip() for part in re.split(r"[;\n]", text) if part.strip()]
    if not parts:
        raise UserError("the expression is empty: write a function of x such as sin(x**2)")
    steps: list[Step] = []
    for i, part in enumerate(parts):
        if side := re.match(_DERIVATIVE, part):
            raise UserError(
                f"{side[0]} begins a derivative: write the function itself here; a formula for its "
                "derivative is given as --formula"
            )
        name, formula = _split_definition(part, last=i == len(parts) - 1)
        known = ["x", *(step.name for step in steps)]
        if name in known:
            raise UserError(f"{name} is defined twice: give each intermediate a name of its own")
        steps.append(Step(name, with_whole_exponents(parse(formula, known), steps)))
    if len(steps) == 1:
        steps = _name_arguments(steps[0].expr)
    _check_size(steps)
    return tuple(steps)


def parse_derivative(text: str, known: Collection[str]) -> Expr:
    """Read a formula for a derivative, which may begin with what it is: f'(x) =, dy/dx =.

    Raises:
        UserError: as for `parse_program`.
    """
    return parse(re.sub(_DERIVATIVE, "", text), known)


def parse(text: str, known: Collection[str]) -> Expr:
    """Read one formula in the names `known`.

    Raises:
        UserError: as for `parse_program`.
    """
    _check_length(text)
    if not text.strip():
        raise UserError("the formula is empty: write one such as 3*x**2")
    if re.search(r",\s*\)", text):
        raise UserError("a comma before ) is not allowed in an expression: leave it out")
    try:
        text = to_python(text.strip(), _CALLABLE)
    except UserError as error:  # which quotes a part
        typed = shortened(printable(text.strip()), 100)
        raise UserError(f"cannot read {typed}: {error}") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of oddities such as `1or 2`
            tree = ast.parse(text, mode="eval")
    except SyntaxError as error:
        raise UserError(
            f"cannot read {shown(text)}{_unexpected(text, error)}\n"
            "write products with *, powers with **, and close each bracket"
        ) from None
    except (RecursionError, MemoryError, ValueError):
        raise UserError(f"cannot read {shown(text)}: it is nested too deeply") from None
    _restore_decimals(tree, text)
    return _build(tree.body, known, depth=0, power=1.0)


def _unexpected(text: str, error: SyntaxError) -> str:
    """Where a formula cannot be read on, and why, in words for who knows no Python."""
    if quote := re.search("['\"]", text):
        return f" at column {quote.start() + 1}: quotes and primes are not read"
    column = error.offset
    if column is None:
        return f": {error.msg}"
    if not 0 < column <= len(text):
        return ": it ends too early"
    character = text[column - 1]
    if character in "()[]{}":
        reason = error.msg  # which bracket lacks its other half
    elif character.isdigit():
        reason = "a number does not begin with 0 there"
    else:
        reason = f"{shown(character)} is not expected there"
    return f" at column {column}: {reason}"


def _restore_decimals(tree: ast.Expression, text: str) -> None:
    """Give the literals of `tree` that Python has cut to float64 all the digits that they have."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            # Its type does not know Decimal, which only _build reads.
            node.value = _decimal(str(ast.get_source_segment(text, node)))  # type: ignore[assignment]


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent of 19 digits or more
        raise UserError(_out_of_range(text)) from None


def _out_of_range(text: str) -> str:
    return f"the number {shown(text)} is out of range: 1e-100 to 1e100 are allowed"


def _check_length(text: str) -> None:
    if len(text) > MAX_LENGTH:
        raise UserError(
            f"the expression has {len(text):,} characters, at most {MAX_LENGTH:,} are allowed: "
            "shorten it"
        )


def _split_definition(part: str, last: bool) -> tuple[str, str]:
    match = re.fullmatch(r"\s*(\w+)\s*(?:\(\s*x\s*\))?\s*=(?!=)(.*)", part)
    if match is None:
        if last:
            return "f", part
        raise UserError(f"{shown(part)} has no name: write it as u = …; only the last part may")
    name, formula = match.groups()
    if last and name == "y":
        name = "f"
    if last and name != "f":
        raise UserError(f"the last part is called {shown(name)}: call it f, or leave out the name")
    reserved = name in _CALLABLE or name in CONSTANTS or name == "x" or (name == "f" and not last)
    if reserved or not re.fullmatch(r"[A-Za-z]\w{0,19}", name, flags=re.ASCII):
        raise UserError(
            f"{shown(name)} cannot name an intermediate: take up to 20 letters and digits, and "
            "no name that means something else"
        )
    return name, formula


def _build(node: ast.expr, known: Collection[str], depth: int, power: float) -> Expr:
    """Python's syntax node as ours; `power` is the product of the exponents around it."""
    if depth > MAX_DEPTH:
        raise UserError(f"the expression is nested deeper than {MAX_DEPTH} levels: simplify it")
    match node:
        case ast.Constant(value=int() | Decimal() as value) if not isinstance(value, bool):
            return _literal(value)
        case ast.Name(id=name):
            return _name(name, known)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _build(operand, known, depth + 1, power)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return Negative(_build(operand, known, depth + 1, power))
        case ast.BinOp(op=ast.Pow(), left=left, right=right):
            exponent = _build(right, known, depth + 1, 1.0)
            power = _nested_power(exponent, power)
            return Binary("**", _build(left, known, depth + 1, power), exponent)
        case ast.BinOp(op=operator, left=left, right=right) if type(operator) in _OPERATORS:
            a = _build(left, known, depth + 1, power)
            return Binary(_OPERATORS[type(operator)], a, _build(right, known, depth + 1, power))
        case ast.Call(func=ast.Name(id=name)) if name in known or name in CONSTANTS:
            raise UserError(f"{name} is no function: write * between, as in {name}*(x + 1)")
        case ast.Call(func=ast.Name(id=function), args=[argument], keywords=[]):
            if function in _ABBREVIATIONS:
                formula = _in_full(_ABBREVIATIONS[function], argument)
                return _build(formula, known, depth, power)
            return Call(_function(function, known), _build(argument, known, depth + 1, power))
        case ast.Call(func=ast.Name(id="log"), args=[_, _], keywords=[]):
            raise UserError("log has one argument: write log(u)/log(v) for log(u, v)")
        case ast.Call(func=ast.Name(id=name)) if name in _IN_WORDS:
            _function(name, known)  # which refuses it
        case ast.Attribute(ast.Name(id=module), name) if name in CONSTANTS and module not in known:
            raise UserError(f"{name} is known by itself: write {name} without {module}.")
        case ast.Call(func=ast.Attribute(ast.Name(id=module), name)) if (
            name in _CALLABLE and module not in known
        ):
            _function(name, known)  # which refuses what is not known
            raise UserError(f"{name} is known by itself: write {name}(…) without {module}.")
        case ast.Tuple(elts=[_, *_]):
            raise UserError("a comma is not allowed in an expression: write 2.5 for the number 2,5")
    raise UserError(
        f"{_describe(node)} is not allowed in an expression: numbers, names, + - * / ** and the "
        f"functions {', '.join((*FUNCTIONS, *_ABBREVIATIONS))} are"
    )


def _describe(node: ast.expr) -> str:
    match node:
        case ast.Attribute() | ast.Call(func=ast.Attribute()):
            kind = "attribute access"
        case ast.Call(func=ast.Name()):
            kind = "a function without one argument"
        case ast.Constant(value=str() | bytes()) | ast.JoinedStr():
            kind = "text"
        case ast.Constant(value=None | bool() as word):
            kind = str(word)
        case ast.Compare():
            kind = "a comparison"
        case ast.IfExp():
            kind = "a condition"
        case ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
            kind = "a logical operation"
        case ast.BinOp() | ast.UnaryOp():
            kind = "an operation on integers"
        case ast.Tuple():
            kind = "a bracket around nothing"
        case ast.List() | ast.ListComp() | ast.Set() | ast.Dict() | ast.Subscript():
            kind = "a list or an index"
        case _:
            kind = "what stands"
    return f"{kind} at column {node.col_offset + 1}"


def _literal(value: int | Decimal) -> Number:
    if value and not Decimal("1e-100") <= value <= Decimal("1e100"):
        raise UserError(_out_of_range(str(value).lower()))
    # As Python prints it, unless it has digits that a float64 does not hold.
    text = str(value) if isinstance(value, int) else str(float(value))
    return Number(text if Decimal(text) == value else str(value).lower())


def _nested_power(exponent: Expr, power: float) -> float:
    if names(exponent):
        return power
    value = constant(exponent)
    if value is None or abs(value) * power > MAX_POWER:
        total = "no number" if value is None else f"{abs(value) * power:g}"
        raise UserError(
            f"an exponent comes to {total}, at most {MAX_POWER} is allowed "
            "(nested powers count as their product): lower it"
        )
    return max(power, abs(value) * power)


def _name(name: str, known: Collection[str]) -> Expr:
    if name in CONSTANTS:
        return Number(name)
    if name in known:
        return Name(name)
    if name in FUNCTIONS:
        raise UserError(f"{name} is a function: write {name}(x)")
    factors = {*known, *CONSTANTS}
    for first, second in _halves(name):
        if {first, second} <= factors:
            raise UserError(f"unknown name {shown(name)}: write {first}*{second} for the product")
        if first in _CALLABLE and (second in factors or second.isdecimal()):
            raise UserError(f"unknown name {shown(name)}: write {first}({second})")
    raise UserError(f"unknown name {shown(name)}{_meant(name, [*known, *CONSTANTS])}")


def _halves(name: str) -> Iterator[tuple[str, str]]:
    return ((name[:i], name[i:]) for i in range(1, len(name)))


def _in_full(formula: str, argument: ast.expr) -> ast.expr:
    """A formula in u with the argument in the place of u."""

    class Substitution(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            return argument if node.id == "u" else node

    tree: ast.Expression = Substitution().visit(ast.parse(formula, mode="eval"))
    return tree.body


def _function(name: str, known: Collection[str]) -> str:
    if name in (*FUNCTIONS, *_ABBREVIATIONS):
        return name
    plain = re.sub("^(arc|ar)", "a", name)
    if plain in _IN_WORDS:
        arguments = "u, v" if "v" in _IN_WORDS[plain] else "u"
        raise UserError(
            f"{name} is not known here: write {_IN_WORDS[plain]} for {name}({arguments})"
        )
    for first, second in _halves(name):
        if first in {*known, *CONSTANTS} and second in _CALLABLE:
            raise UserError(f"unknown function {shown(name)}: write {first}*{second}(…)")
    raise UserError(f"unknown function {shown(name)}{_meant(name, [*FUNCTIONS, *_ABBREVIATIONS])}")


def _meant(name: str, known: list[str]) -> str:
    close = closest(name.lower(), known)
    return f": did you mean {close}?" if close else f": the known ones are {', '.join(known)}"


def _name_arguments(expr: Expr) -> list[Step]:
    """Give the argument of each function a name, the same name to equal arguments."""
    given: dict[Expr, str] = {}

    def visit(expr: Expr) -> Expr:
        expr = with_children(expr, tuple(visit(child) for child in children(expr)))
        if isinstance(expr, Call) and children(expr.argument) and names(expr.argument):
            name = given.setdefault(expr.argument, f"u{len(given) + 1}")
            return Call(expr.function, Name(name))
        return expr

    value = visit(expr)
    return [*(Step(name, argument) for argument, name in given.items()), Step("f", value)]


def _check_size(steps: list[Step]) -> None:
    """Refuse a function that is too large in x alone, before it is expressed so."""
    sizes, depths = {"x": 1}, {"x": 0}
    for step in steps:
        sizes[step.name] = sum(
            sizes[node.name] if isinstance(node, Name) else 1 for node in nodes(step.expr)
        )
        depths[step.name] = _depth(step.expr, depths)
        if sizes[step.name] > MAX_NODES:
            raise UserError(
                f"{step.name} expressed in x has {sizes[step.name]:,} operations, at most "
                f"{MAX_NODES:,} are allowed: use fewer intermediates inside each other"
            )
        if depths[step.name] > MAX_DEPTH:
            raise UserError(
                f"{step.name} expressed in x is nested {depths[step.name]} levels deep, at most "
                f"{MAX_DEPTH} are allowed: use fewer intermediates inside each other"
            )
    in_x = compose(tuple(steps))
    slopes = [differentiate(step.expr, name) for step in steps for name in names(step.expr)]
    slopes += [differentiate(expr, "x") for expr in in_x.values()]
    operations = itertools.chain.from_iterable(map(nodes, slopes))
    if len(list(itertools.islice(operations, MAX_SLOPE_NODES + 1))) > MAX_SLOPE_NODES:
        raise UserError(
            f"the derivatives of the expression have more than {MAX_SLOPE_NODES:,} operations: "
            "simplify it, or nest less in it"
        )


def _depth(expr: Expr, depths: Mapping[str, int]) -> int:
    """Levels of operations, those of the names included."""
    if isinstance(expr, Name):
        return depths[expr.name]
    return max((1 + _depth(child, depths) for child in children(expr)), default=0)
