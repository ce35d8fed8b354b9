"""Formulas as people type them: what is read, as what, and what is refused with its spelling."""

import contextlib
import math
from collections.abc import Callable

import mpmath
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from midterm_cli.errors import UserError
from midterm_cli.notation import to_python
from midterm_cli.part1.expression import (
    FUNCTIONS,
    MATH,
    Arithmetic,
    Binary,
    Call,
    Expr,
    Name,
    Negative,
    Number,
    evaluate,
)
from midterm_cli.part1.parse import parse, parse_derivative
from midterm_cli.part1.printing import to_latex, to_text


def value(text: str, x: float) -> float:
    return float(evaluate(parse(text, ["x", "y"]), {"x": x, "y": 0.7}, MATH))


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("3x^2", lambda x: 3 * x**2),
        ("3x²", lambda x: 3 * x**2),
        ("-x²", lambda x: -(x**2)),
        ("2x⁻¹", lambda x: 2 / x),
        ("x¹⁰", lambda x: x**10),
        ("2^x²", None),
        ("ln(x)", math.log),
        ("arctan(x)", math.atan),
        ("arcsin(x/9) + arccos(x/9)", lambda x: math.pi / 2),
        ("|x-5|", lambda x: abs(x - 5)),
        ("abs(x-5)", lambda x: abs(x - 5)),
        ("2|x-5|y", lambda x: 2 * abs(x - 5) * 0.7),
        ("|x-5| + |x-6|", lambda x: abs(x - 5) + abs(x - 6)),
        ("|x - |x-5||", lambda x: abs(x - abs(x - 5))),
        ("|x|²", lambda x: x**2),
        ("x − 1 – 2", lambda x: x - 3),
        ("x×2·y÷3", lambda x: x * 2 * 0.7 / 3),
        ("2πx", lambda x: 2 * math.pi * x),
        ("√(x)", math.sqrt),
        ("2(x+1)", lambda x: 2 * (x + 1)),
        ("(x+1)(x-1)x", lambda x: (x + 1) * (x - 1) * x),
        ("x y sin(x)cos(x)", lambda x: x * 0.7 * math.sin(x) * math.cos(x)),
        ("2x/3", lambda x: 2 * x / 3),
        ("1/2*x", lambda x: x / 2),
        ("x^2 - 3x", lambda x: x**2 - 3 * x),
        ("x/2 + 3x", lambda x: x / 2 + 3 * x),
        ("x/2*3x", lambda x: x / 2 * 3 * x),
        ("x^2 * 3y", lambda x: x**2 * 3 * 0.7),
        ("2e^x", lambda x: 2 * math.exp(x)),
        ("1e-3x", lambda x: x / 1000),
        ("e^(2)x", lambda x: math.exp(2) * x),
        ("log10(x)", math.log10),
        ("log2(x)", math.log2),
        ("log1p(x)", math.log1p),
        ("expm1(x)", math.expm1),
        ("exp2(x)", math.exp2),
        ("cot(x) + sec(x) + csc(x)", lambda x: 1 / math.tan(x) + 1 / math.cos(x) + 1 / math.sin(x)),
        (
            "coth(x) + sech(x) + csch(x)",
            lambda x: 1 / math.tanh(x) + 1 / math.cosh(x) + 1 / math.sinh(x),
        ),
        (r"\frac{x}{2}", lambda x: x / 2),
        (r"\frac{1}{2}x", lambda x: x / 2),
        (r"\dfrac{1}{\frac{x}{y} + 1}", lambda x: 1 / (x / 0.7 + 1)),
        (r"e^{-x^{2}}\cdot 2x", lambda x: math.exp(-(x**2)) * 2 * x),
        (r"\sin\left(2x\right)\,x^{3}y", lambda x: math.sin(2 * x) * x**3 * 0.7),
        (r"\left|x-5\right| \times \pi", lambda x: abs(x - 5) * math.pi),
        (r"\sqrt{2x}\ln(x)\arctan{x}", lambda x: math.sqrt(2 * x) * math.log(x) * math.atan(x)),
    ],
)
def test_what_has_one_reading_is_read(
    typed: str, expected: Callable[[float], float] | None
) -> None:
    for x in (0.25, 1.5, 3.0):
        if expected is None:
            with pytest.raises(UserError, match="has two readings"):
                parse(typed, ["x"])
        else:
            assert value(typed, x) == pytest.approx(expected(x), rel=1e-14)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("1/2x", r"'/2x' has two readings: write /\(2\*x\) or /2\*x"),
        ("1/2(x+1)", r"'/2\(' has two readings: write /\(2\*\(…\)\) or /2\*\(…\)"),
        ("1/sin(x)cos(x)", r"'/sin\(x\)cos' has two readings: write /\(sin\(x\)\*cos\(…\)\) or"),
        ("1/x²y", r"'/x\*\*2y' has two readings"),
        ("1/(\x1b)¼1", r"write /\(\(\\x1b\)\*¼1\) or /\(\\x1b\)\*¼1"),
        ("e^2x", r"'\^2x' has two readings: write \*\*\(2\*x\) or \*\*2\*x"),
        ("x^-2y", "has two readings"),
        ("1/2^(3)x", "has two readings"),
        ("x²^3", "has two readings: put one in brackets"),
        ("sin^2(x)", r"write sin\(x\)\*\*2 for the square, and asin\(x\) for the inverse"),
        ("sin⁻¹(x)", r"and asin\(x\) for the inverse"),
        ("exp²(x)", r"write exp\(x\)\*\*2 for the square$"),
        ("sin x", r"write sin\(…\) around its argument"),
        ("√x", r"write sqrt\(…\) around its argument"),
        ("x 2", r"'x 2' is no product: write \* between"),
        ("(x)2", r"write \* between"),
        ("|x|y|x|", r"may open or close: write abs\(x\)"),
        ("|x", r"not closed: write abs\(x\)"),
        ("|x)", r"not closed: write abs\(x\)"),
        ("x^2^(3)y", "has two readings"),
        ("(|x)|", r"not closed: write abs\(x\)"),
        ("x|y", r"not closed: write abs\(x\)"),
        (r"\frac12", r"write \\frac\{…\}\{…\}"),
        (
            "1/2sin(x)",
            r"^cannot read 1/2sin\(x\): '/2sin' has two readings: write /\(2\*sin\(…\)\) or",
        ),
        (
            r"1 + \frac{x}{2",
            r"^cannot read 1 \+ \\frac\{x\}\{2: a \\frac is not complete: write \\frac\{…",
        ),
        (r"\frac{x}{2", r"write \\frac\{…\}\{…\}"),
        (r"\frac", r"write \\frac\{…\}\{…\}"),
        (r"\sqrt[3]{x}", r"\\sqrt\[3\] is not read here: write u\^\(1/3\)$"),
        (r"\sqrt [4]{x}", r"\\sqrt \[4\] is not read here: write u\^\(1/4\)$"),
        (r"\sqrt[", r"\\sqrt\[ is not read here: write u\^\(1/n\)$"),
        (r"\log_{2}{x}", r"\\log_\{2\} is not read here: write log\(u\)/log\(2\)$"),
        (r"\log_{10}(x)", r"\\log_\{10\} is not read here: write log\(u\)/log\(10\)$"),
        (r"\log_3 x", r"\\log_3 is not read here: write log\(u\)/log\(3\)$"),
        (r"\log_", r"\\log_ is not read here: write log\(u\)/log\(n\)$"),
        (r"\int x", r"^cannot read \\int x: \\int is not read here: of LaTeX, \\frac"),
    ],
)
def test_what_has_not_is_refused_with_the_spelling(typed: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(typed, ["x", "y"])


# Whatever stands in brackets of its own has one reading, in each of these spellings.
LEAVES: SearchStrategy[Expr] = st.one_of(
    st.just(Name("x")),
    st.sampled_from(["0.5", "2", "pi", "e", "1.25"]).map(Number),
)


def grown(inner: SearchStrategy[Expr]) -> SearchStrategy[Expr]:
    return st.one_of(
        st.builds(Negative, inner),
        st.builds(Call, st.sampled_from(list(FUNCTIONS)), inner),
        st.builds(Binary, st.sampled_from("+-*/"), inner, inner),
        st.builds(lambda a, n: Binary("**", a, Number(str(n))), inner, st.integers(2, 3)),
    )


EXPRESSIONS = st.recursive(LEAVES, grown, max_leaves=8)


@st.composite
def spelled(draw: st.DrawFn, expr: Expr) -> str:
    """An expression as somebody may type it."""
    match expr:
        case Number(text) | Name(text):
            return draw(st.sampled_from(["π", r"\pi "])) if text == "pi" else text
        case Negative(argument):
            return draw(st.sampled_from("-−–")) + f"({draw(spelled(argument))})"
        case Call(function, argument):
            brackets = draw(st.sampled_from(["({})", r"\left({}\right)", "{{{}}}"]))
            known = draw(st.sampled_from([function, f"\\{function}"]))
            long = known.replace("log", "ln") if draw(st.booleans()) else known
            return f" {long}" + brackets.format(draw(spelled(argument)))
        case Binary("**", left, Number(text)):
            raised = "⁰¹²³"[int(text)]
            power = draw(st.sampled_from([raised, f"^{text}", f"^{{{text}}}", f"**{text}"]))
            return f"({draw(spelled(left))}){power}"
        case Binary("*", left, right):
            sign = draw(st.sampled_from(["", " ", "*", "·", "×", r"\cdot "]))
            return f"({draw(spelled(left))}){sign}({draw(spelled(right))})"
        case Binary("/", left, right):
            form = draw(st.sampled_from(["({})/({})", r"\frac{{{}}}{{{}}}", "({}) ÷ ({})"]))
            return form.format(draw(spelled(left)), draw(spelled(right)))
        case Binary(sign, left, right):
            sign = draw(st.sampled_from("-−–")) if sign == "-" else sign
            return f"({draw(spelled(left))}) {sign} ({draw(spelled(right))})"
    raise AssertionError(expr)


@given(st.data())
def test_the_typed_form_is_the_python_form(data: st.DataObject) -> None:
    expr = data.draw(EXPRESSIONS)
    assert parse(data.draw(spelled(expr)), ["x"]) == parse(to_text(expr), ["x"]) == expr


@given(EXPRESSIONS)
def test_the_latex_that_is_printed_is_read_back(expr: Expr) -> None:
    """As the same function: exp(u) is printed as a power of e."""
    try:
        read = parse(to_latex(expr), ["x"])
    except UserError as error:  # exp(u) of a large constant
        assume(not str(error).startswith("an exponent comes to"))
        raise
    digits = Arithmetic(mpmath, lambda text: getattr(mpmath, text, None) or mpmath.mpf(text))
    with mpmath.workdps(60):
        for x in (mpmath.mpf("0.3"), mpmath.mpf("1.7")):
            try:
                expected, found = (evaluate(it, {"x": x}, digits) for it in (expr, read))
            except ArithmeticError:  # 1 / 0, and what is too large for mpmath
                continue
            assert found == expected or mpmath.almosteq(found, expected, rel_eps=1e-15)


@given(EXPRESSIONS)
def test_what_is_python_already_is_not_changed(expr: Expr) -> None:
    assert to_python(to_text(expr), FUNCTIONS) == to_text(expr)


@given(st.lists(st.sampled_from([*"xy 2()|+-*/^²{}", r"\frac", "sin", "|", "²", " "]), max_size=9))
def test_any_text_is_read_or_refused(parts: list[str]) -> None:
    with contextlib.suppress(UserError):
        parse("".join(parts), ["x", "y"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("2ˣ", r"write \^x for a power"),
        ("(x+1)ˣ", r"write \^x for a power"),
        ("3ᵖⁱ", r"write \^p for a power"),
        ("xⁿ", r"write \^n for a power"),
        ("2ₓ", "without an index"),
        ("x₁", "without an index"),
        (r"2\frac{1}{2}", "two readings"),
        (r"1 \dfrac{1}{2}x", "two readings"),
        ("2³√(x)", "cube root"),
        ("2 e-3x", "two readings"),
        ("2e -3", "two readings"),
        ("1.5E- 3", "two readings"),
        ("xe^x", r"write x\*e for the product"),
        ("2pix", r"write pi\*x for the product"),
    ],
)
def test_what_people_write_otherwise_is_refused_with_its_spelling(text: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        parse(text, ["x"])


@pytest.mark.parametrize(
    "text", ["2e-3x", "2*e - 3", "x2 + e - 3", r"x*\frac{1}{2}", r"2\frac{x}{2}"]
)
def test_what_has_one_reading_is_still_read(text: str) -> None:
    parse(text, ["x", "x2"])


@pytest.mark.parametrize(
    "head", ["f'(x) =", "f' =", "y' =", "dy/dx =", "df/dx=", "f′(x)=", " F’ ( x ) = "]
)
def test_a_derivative_may_say_what_it_is(head: str) -> None:
    assert parse_derivative(f"{head} 2x", ["x"]) == parse("2*x", ["x"])
