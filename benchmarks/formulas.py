"""Whether `midterm autodiff --formula` is right: the table of docs/formulas.md.

Some 600 formulas of which it is known by construction whether they are the derivative: right ones
in several forms, and wrong ones of the kinds that are hard to tell. Takes about two minutes:

    python -m benchmarks.formulas
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from midterm_cli.part1.domain import intervals
from midterm_cli.part1.judge import judge
from midterm_cli.part1.parse import parse, parse_program
from midterm_cli.part1.reference import Reference
from midterm_cli.part1.samples import near_ends, sample

MIDTERM = "u = x**3; y = 2 + u + log(1 + u); f = sqrt(y) + sin(y)"
_Y = "(2 + x**3 + log(1 + x**3))"
_INNER = "3*x**2*(1 + 1/(1 + x**3))"


@dataclass(frozen=True)
class Function:
    """A function of x, the terms of its derivative by hand, and where it is judged."""

    expression: str
    terms: tuple[str, ...]
    low: float
    high: float


FUNCTIONS = [
    Function("x**3 - 2*x", ("3*x**2", "-2"), -2, 2),
    Function("sin(x**2)", ("2*x*cos(x**2)",), -3, 3),
    Function("exp(-x**2/2)", ("-x*exp(-x**2/2)",), -3, 3),
    Function("x*sin(x)", ("sin(x)", "x*cos(x)"), -4, 4),
    Function("log(1 + x**2)", ("2*x/(1 + x**2)",), -3, 3),
    Function("sqrt(1 + x**2)", ("x/sqrt(1 + x**2)",), -3, 3),
    Function("tan(x)", ("1/cos(x)**2",), -4, 4),
    Function("atan(3*x)", ("3/(1 + 9*x**2)",), -3, 3),
    Function("asin(x/2)", ("1/sqrt(4 - x**2)",), -2, 2),
    Function("acos(x)", ("-1/sqrt(1 - x**2)",), -1, 1),
    Function("sinh(x)*cos(x)", ("cosh(x)*cos(x)", "-sinh(x)*sin(x)"), -3, 3),
    Function("tanh(2*x)", ("2/cosh(2*x)**2",), -20, 20),
    Function("x**x", ("x**x*log(x)", "x**x"), 0, 3),
    Function("2**x", ("2**x*log(2)",), -5, 5),
    Function("1/(1 + exp(-x))", ("exp(-x)/(1 + exp(-x))**2",), -30, 30),
    Function("x**1.5", ("1.5*sqrt(x)",), 0, 4),
    Function("1/x", ("-1/x**2",), -2, 2),
    Function("exp(sin(x))", ("cos(x)*exp(sin(x))",), -4, 4),
    Function("x/(1 + x**2)", ("1/(1 + x**2)", "-2*x**2/(1 + x**2)**2"), -3, 3),
    Function(MIDTERM, (f"{_INNER}/(2*sqrt({_Y}))", f"{_INNER}*cos{_Y}"), -1.5, 2.5),
    Function("log(x)/x", ("1/x**2", "-log(x)/x**2"), 0, 5),
    Function("cosh(x) - cos(x)", ("sinh(x)", "sin(x)"), -3, 3),
    Function("sqrt(x)*exp(-x)", ("exp(-x)/(2*sqrt(x))", "-sqrt(x)*exp(-x)"), 0, 6),
    Function("(x + 1)**5/5 + atan(x)", ("(x + 1)**4", "1/(1 + x**2)"), -2, 2),
    Function("sinh(x) - exp(x)/2", ("exp(-x)/2",), 20, 40),
    Function("exp(1000*x)", ("1000*exp(1000*x)",), -1, 1),
    Function("x**3*sqrt(x**2)", ("4*x**2*sqrt(x**2)",), -2, 2),
    Function("x*log(x**2)", ("log(x**2)", "2"), -3, 3),
    Function("cos(x)**2", ("-sin(2*x)",), -4, 4),
    Function("sin(50*x)/50", ("cos(50*x)",), -2, 2),
]

RIGHT_FORMS = (
    "{}",
    "-(-({}))",
    "2*({})/2",
    "({})*(sin(x)**2 + cos(x)**2)",
    "({}) + (x - x)",
    "({})*exp(x)/exp(x)",
    "(({})*(x**2 + 1))/(x**2 + 1)",
    "({})/(cosh(x)**2 - sinh(x)**2)",
    "({}) + log(exp(x)) - x",
)


@dataclass(frozen=True)
class Case:
    """A formula for the derivative of a function.

    Attributes:
        kind: what was done to the derivative.
        function: whose derivative it may be.
        formula: in x.
        differs_at: a point where it is not the derivative; None for a right one.
    """

    kind: str
    function: Function
    formula: str
    differs_at: float | None


def cases(function: Function) -> Iterator[Case]:
    """Right and wrong formulas for the derivative of a function."""
    slope = " + ".join(f"({term})" for term in function.terms)
    # Odd places, where neither the derivative nor a grid has anything special.
    place = round(function.low + 0.7236 * (function.high - function.low), 4)
    if function.expression == "exp(1000*x)":
        place = 0.6123
    beside = place + 0.03
    bump = f"(x - {place})/0.001"
    triangle = f"0.001 - sqrt((x - {place})**2)"
    for form in RIGHT_FORMS:
        yield Case("the same in another form", function, form.format(slope), None)
    wrong = [
        ("a sign", f"-({slope})", beside),
        ("a factor", f"2*({slope})", beside),
        ("a factor of 1 + 1e-9", f"1.000000001*({slope})", beside),
        ("a constant of 1e-12", f"{slope} + 1e-12", beside),
        ("equal only at a given x", f"{slope} + (x - {place})", beside),
        ("equal only at a given x", f"({slope})*(1 + (x - {place})**2)", beside),
        ("equal on one side", f"{slope} + sqrt((x - {place})**2) + x - {place}", beside),
        ("equal on one side", f"{slope} + sqrt((x - {place})**2) - (x - {place})", place - 0.03),
        ("a bump of width 1e-3", f"{slope} + exp(-({bump})**2)", place),
        ("a bump of width 1e-3", f"{slope} + 1/cosh({bump})**4", place),
        ("a bump of width 1e-3", f"{slope} + ({triangle}) + sqrt(({triangle})**2)", place),
    ]
    if len(function.terms) > 1:
        for i, term in enumerate(function.terms):
            rest = " + ".join(f"({t})" for t in function.terms[:i] + function.terms[i + 1 :])
            wrong.append(("a dropped term", rest, beside))
            wrong.append(("a sign", f"{rest} - ({term})", beside))
    for kind, formula, differs_at in wrong:
        yield Case(kind, function, formula, differs_at)


def verdicts(function: Function, num_points: int = 401) -> Iterator[tuple[Case, str | None]]:
    """Each case of a function with the verdict of `judge`, at the points of the command."""
    program = parse_program(function.expression)
    pieces = intervals(program, function.low, function.high, num_points)
    x = torch.cat([sample(pieces, num_points, 0), near_ends(pieces)]).sort().values
    reference = Reference(program)
    for case in cases(function):
        yield case, judge(parse(case.formula, ["x"]), reference, x).verdict


def main() -> None:
    """Judge all of them, and print the table."""
    counts: dict[str, Counter[str | None]] = {}
    for function in FUNCTIONS:
        for case, verdict in verdicts(function):
            counts.setdefault(case.kind, Counter())[verdict] += 1
            if (verdict == "right") != (case.differs_at is None):
                print(f"{verdict}: {case.kind}: {case.formula} of {function.expression}")  # noqa: T201
    columns = ("right", "wrong", "cannot tell")
    print(f"| kind | formulas | {' | '.join(columns)} |\n|---|{'---:|' * 4}")  # noqa: T201
    for kind, found in counts.items():
        numbers = " | ".join(str(found[verdict]) for verdict in columns)
        print(f"| {kind} | {found.total()} | {numbers} |")  # noqa: T201


if __name__ == "__main__":
    main()
