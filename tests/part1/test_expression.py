"""Parsing, evaluating, differentiating and printing expressions."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midterm_cli.errors import UserError
from midterm_cli.part1.autodiff.schema import MAX_LENGTH
from midterm_cli.part1.expression import (
    FUNCTIONS,
    MATH,
    Binary,
    Call,
    Expr,
    Name,
    Negative,
    Number,
    compose,
    differentiate,
    evaluate,
)
from midterm_cli.part1.parse import parse, parse_program
from midterm_cli.part1.printing import to_text


def value(text: str, x: float) -> float:
    return float(evaluate(parse(text, ["x"]), {"x": x}, MATH))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 - x - 2", -3.0),
        ("2 ** x ** 2", 16.0),
        ("-x**2", -4.0),
        ("(-x)**3", -8.0),
        ("2 / x * 3", 3.0),
        ("2 / (x * 4)", 0.25),
        ("1e-3 * x", 0.002),
        ("ln(e ** x) + cos(pi)", 1.0),
        ("x ** -2", 0.25),
        ("+x", 2.0),
        ("x ** -0.5", 0.5**0.5),
        ("(-x) ** -3", -0.125),
    ],
)
def test_reads_as_mathematics_does(text: str, expected: float) -> None:
    assert value(text, 2.0) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("__import__('os').system('ls')", "attribute access at column 1"),
        ("__import__('os')", "unknown function '__import__'"),
        ("x.real", "attribute access at column 1"),
        ("x[0]", "a list or an index at column 1"),
        ("lambda: x", "what stands at column 1"),
        ("[x for x in x]", "a list or an index"),
        ("'x'", "text at column 1"),
        ("sin(x, x)", "without one argument"),
        ("sin(x=x)", "without one argument"),
        ("sin(*x)", "what stands at column 5"),
        ("x if x > 0 else 0", "a condition at column 1"),
        ("x > 0", "a comparison at column 1"),
        ("max(x, 0)", r"write \(u \+ v \+ sqrt\(\(u - v\)\*\*2\)\)/2 for max\(u, v\)$"),
        ("pow(x, 2)", r"write u\*\*v for pow\(u, v\)$"),
        ("tg(x)", r"write tan\(u\) for tg\(u\)$"),
        ("LN(x)", "did you mean ln\\?$"),
        ("log_2(x)", "did you mean log2\\?$"),
        ("X**2", "did you mean x\\?$"),
        ("np.sin(x)", r"write sin\(…\) without np\.$"),
        (" ", "empty"),
        ("x and x", "a logical operation at column 1"),
        ("2,5*x", "write 2.5 for the number 2,5"),
        ("(y := x)", "what stands at column 2"),
        ("True", "True at column 1"),
        ("2j", "unknown name 'j'"),
        ("x % 2", "an operation on integers at column 1"),
        ("2 +", r"cannot read '2 \+'.*\n.*\*"),
        ("x(x+1)", r"x is no function: write \* between"),
        ("arsinh(x)", r"write log\(u \+ sqrt\(u\*\*2 \+ 1\)\) for arsinh\(u\)"),
        ("exp2(101)", "an exponent comes to 101, at most 100"),
        ("abs(x**51)", "an exponent comes to 102, at most 100"),
        ("sin", r"write sin\(x\)"),
        ("sinn(x)", "did you mean sin"),
        ("z + 1", "unknown name 'z': the known ones are x, pi, e"),
        ("x\0", "cannot read"),
        ("9**9**9", "3.8742e.08"),
        ("x**101", "comes to 101"),
        ("(x**11)**10", "comes to 110"),
        ("((x**2)**8 + 1)**8", "comes to 128"),
        ("x**(1/0)", "no number"),
        ("x**((0 - 8)**0.5)", "no number"),
        ("x**(1e100*1e100*1e100*1e100)", "no number"),
        ("1e999", "out of range"),
        ("9" * 900, "out of range"),
        ("(" * 400 + "x" + ")" * 400, "cannot read"),
        ("-" * 500 + "x", "nested deeper"),
        ("(" * 5000 + ")" * 5000, f"10,000 characters, at most {MAX_LENGTH:,}"),
        ("", "cannot read|empty"),
    ],
)
def test_refuses_what_is_no_formula(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        parse(text, ["x"])
    assert len(str(caught.value).splitlines()) <= 2
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        (" ; ", "empty"),
        ("x; x", "has no name"),
        ("u = x; g = u", "call it f"),
        ("u = x; u = x; f = u", "defined twice"),
        ("x = 2; f = x", "cannot name"),
        ("sin = x; f = sin", "cannot name"),
        ("f = x; u = f; f", "cannot name|defined twice"),
        ("_u = x; f = x", "cannot name"),
        ("u = v; v = x; f = u", "unknown name 'v'"),
        (
            "; ".join(["u0 = x + x", *(f"u{i + 1} = u{i} + u{i}" for i in range(30)), "f = u30"]),
            "2,",
        ),
        (f"u = {'-' * 30}x; v = {'-' * 31}u; f = v", "v expressed in x is nested 61 levels"),
        ("x**(" * 50 + "x" + ")" * 50, "more than 15,000 operations"),
        ("u = 1.01; f = x" + 2 * f" + {'u**(' * 50}u{')' * 50}", "more than 15,000 operations"),
        ("n = 100**sqrt(100); x**n", "an exponent is beyond 1,000,000"),
        ("n = 9**99; m = n**9; x**m", "an exponent is beyond 1,000,000"),
        ("n = -1e19; x**(n/2)", "an exponent is beyond 1,000,000"),
        ("atan(" * 59 + "x" + ")" * 59, "more than 15,000 operations"),
    ],
)
def test_refuses_what_is_no_program(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_program(text)


def test_what_is_just_below_the_caps_is_read() -> None:
    in_x = compose(parse_program(f"u = {'-' * 30}x; v = {'-' * 30}u; f = v"))
    assert in_x["f"] == in_x["v"]
    assert len(parse_program("tan(" * 25 + "x" + ")" * 25)) == 25


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=60) | st.text("x+-*/()0123456789. sincoelgu=;", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        program = parse_program(text)
    except UserError:
        return
    assert program[-1].name == "f"


def test_arguments_become_intermediates() -> None:
    program = parse_program("sin(x**2) + exp(cos(x**2)) + cos(x)")
    written = {step.name: to_text(step.expr) for step in program}
    assert written == {
        "u1": "x**2",
        "u2": "cos(u1)",
        "f": "sin(u1) + exp(u2) + cos(x)",
    }
    assert to_text(compose(program)["f"]) == "sin(x**2) + exp(cos(x**2)) + cos(x)"


def expressions() -> st.SearchStrategy[Expr]:
    leaves: st.SearchStrategy[Expr] = st.sampled_from(
        [Name("x"), Number("2"), Number("0.5"), Number("pi"), Number("3")]
    )

    def grow(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
        powers = st.builds(
            Binary, st.just("**"), inner, st.sampled_from([Number("2"), Negative(Number("1"))])
        )
        return (
            st.builds(Binary, st.sampled_from("+-*/"), inner, inner)
            | st.builds(Negative, inner)
            | st.builds(Call, st.sampled_from(sorted(FUNCTIONS)), inner)
            | powers
        )

    return st.recursive(leaves, grow, max_leaves=8)


@settings(deadline=None, max_examples=100)
@given(expressions())
def test_text_is_read_back_as_the_same_tree(expr: Expr) -> None:
    assert parse(to_text(expr), ["x"]) == expr


@pytest.mark.parametrize(
    ("text", "derivative"),
    [
        ("3", "0"),
        ("y", "0"),
        ("-3", "0"),
        ("-x", "-1"),
        ("-(-x)", "1"),
        ("x + 3", "1"),
        ("3 + x", "1"),
        ("x + x", "1 + 1"),
        ("x - 3", "1"),
        ("3 - x", "-1"),
        ("3 - (-x)", "1"),
        ("3 - y", "0"),
        ("2*x", "2"),
        ("x*2", "2"),
        ("x*x", "x + x"),
        ("y*x*3", "y * 3"),
        ("x/y", "1 / y"),
        ("x/1", "1"),
        ("2/3", "0"),
        ("3/x", "(-3) / x**2"),
        ("x/x", "(x - x) / x**2"),
        ("x**0", "0"),
        ("x**1", "1"),
        ("x**2", "2 * x"),
        ("x**3", "3 * x**2"),
        ("x**-1", "(-1) * x**(-2)"),
        ("(2*x)**3", "3 * (2 * x)**2 * 2"),
        ("x**0.5", "0.5 * x**(0.5 - 1)"),
        ("x**y", "y * x**(y - 1)"),
        ("2**x", "2**x * log(2)"),
        ("x**x", "x * x**(x - 1) + x**x * log(x)"),
        ("sin(2)", "0"),
        ("sin(2*x)", "cos(2 * x) * 2"),
    ],
)
def test_derivatives_have_no_superfluous_zeros_and_ones(text: str, derivative: str) -> None:
    assert to_text(differentiate(parse(text, ["x", "y"]), "x")) == derivative


def test_every_operation_is_composed() -> None:
    program = parse_program("u = x + 1; v = -u; f = v*u - sin(u)/u**2")
    assert to_text(compose(program)["v"]) == "-(x + 1)"
    assert to_text(compose(program)["f"]) == "(-(x + 1)) * (x + 1) - sin(x + 1) / (x + 1)**2"
