"""What the parser refuses, at its caps and in its words."""

import ast
from typing import Any

import pytest

from midterm_cli.errors import UserError
from midterm_cli.part1.expression import FUNCTIONS, Binary, Name, Number
from midterm_cli.part1.parse import _ABBREVIATIONS, parse, parse_derivative, parse_program


def refusal(text: str) -> str:
    with pytest.raises(UserError) as caught:
        parse(text, ["x"])
    return str(caught.value)


def refusal_of_program(text: str) -> str:
    with pytest.raises(UserError) as caught:
        parse_program(text)
    return str(caught.value)


@pytest.mark.parametrize(
    "around",
    ["-({})", "+({})", "sin({})", "({}) + 1", "1 - ({})", "({})**x", "x**({})"],
)
def test_sixty_levels_are_read(around: str) -> None:
    text = "x"
    for _ in range(60):
        text = around.format(text)
    parse(text, ["x"])
    told = refusal(around.format(text))
    assert told == "the expression is nested deeper than 60 levels: simplify it"
    parse_program(f"x + {'-' * 59}1")


def test_texts_up_to_the_longest_are_read() -> None:
    assert parse("x" + 999 * " ", ["x"]) == parse("x", ["x"])
    assert refusal("x" + 1000 * " ") == (
        "the expression has 1,001 characters, at most 1,000 are allowed: shorten it"
    )


def test_what_is_not_known_is_quoted_short_and_printable() -> None:
    assert refusal("y" * 100).startswith(f"unknown name '{'y' * 59}…: the known ones are")
    assert refusal("'\x1b' + 2*").startswith(r"""cannot read "'\x1b' + 2*" at column 1""")


@pytest.mark.parametrize("number", ["0", "1e-100", "1e100"])
def test_numbers_in_range_are_read(number: str) -> None:
    assert parse(number, []) == Number(str(ast.literal_eval(number)))


@pytest.mark.parametrize(("number", "shown"), [("1.1e100", "1.1e+100"), ("9e-101", "9e-101")])
def test_numbers_out_of_range_are_shown(number: str, shown: str) -> None:
    told = f"the number '{shown}' is out of range: 1e-100 to 1e100 are allowed"
    assert refusal(number) == told


@pytest.mark.parametrize(
    ("number", "text"),
    [
        *[("0.50", "0.5"), ("1_0.5", "10.5"), (".5", "0.5"), ("1E5", "100000.0"), ("0e9", "0.0")],
        # A float64 would be another number.
        ("1.00000000000000000000000001", "1.00000000000000000000000001"),
        ("2.5000000000000000000000001E-7", "2.5000000000000000000000001e-7"),
        ("12345678901234567890.5", "12345678901234567890.5"),
    ],
)
def test_numbers_keep_all_their_digits(number: str, text: str) -> None:
    assert parse(number, []) == parse(text, []) == Number(text)
    assert parse(f"(x\n + {number})", ["x"]) == Binary("+", Name("x"), Number(text))


@pytest.mark.parametrize("number", ["1e400", "1e-400", "1e99999999999999999999"])
def test_numbers_beyond_any_float_are_out_of_range(number: str) -> None:
    assert f"the number '{number.replace('e4', 'e+4')}' is out of range" in refusal(number)


def test_powers_up_to_the_largest_are_read() -> None:
    for text in ("x**100", "(x**10)**10", "x**-100", "x**(x**60)", "(x**50)**x"):
        parse(text, ["x"])
    for text in ("(x**20)**6", "(+x**20)**6", "(-x**20)**6", "sin(x**20)**6", "(1 + x**20)**6"):
        assert refusal(text) == (
            "an exponent comes to 120, at most 100 is allowed "
            "(nested powers count as their product): lower it"
        )
    assert refusal("x**(1/0)").startswith("an exponent comes to no number, at most")


def test_what_is_allowed_is_listed() -> None:
    assert refusal("sin(x, x)") == (
        "a function without one argument at column 1 is not allowed in an expression: "
        f"numbers, names, + - * / ** and the functions {', '.join((*FUNCTIONS, *_ABBREVIATIONS))} "
        "are"
    )
    how = "write products with *, powers with **, and close each bracket"
    assert refusal("2 +").splitlines()[1] == how


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("np.sin(x)", "sin is known by itself: write sin(…) without np."),
        ("np.log2(x)", "log2 is known by itself: write log2(…) without np."),
        ("math.pi*x", "pi is known by itself: write pi without math."),
        ("np.max(x)", "max is not known here: write (u + v + sqrt((u - v)**2))/2 for max(u, v)"),
        ("np.max(x, 0)", "max is not known here: write (u + v + sqrt((u - v)**2))/2 for max(u, v)"),
        ("x.sin(x)", "attribute access at column 1 is not allowed in an expression"),
        ("x.pi", "attribute access at column 1 is not allowed in an expression"),
        ("snh(x)", "unknown function 'snh': did you mean sinh?"),
        ("sinx", "unknown name 'sinx': write sin(x)"),
        ("2*lnx", "unknown name 'lnx': write ln(x)"),
        ("xsin(x)", "unknown function 'xsin': write x*sin(…)"),
        ("pisin(x)", "unknown function 'pisin': write pi*sin(…)"),
        ("arccot(x)", "arccot is not known here: write pi/2 - atan(u) for arccot(u)"),
        ("softplus(x)", "softplus is not known here: write log(1 + exp(u)) for softplus(u)"),
        ("log(x, 2)", "log has one argument: write log(u)/log(v) for log(u, v)"),
        ("qqqq(x)", f"unknown function 'qqqq': the known ones are {next(iter(FUNCTIONS))}, "),
    ],
)
def test_what_stands_before_a_name_is_left_out(text: str, told: str) -> None:
    assert refusal(text).startswith(told)


@pytest.mark.parametrize("side", ["f'(x) =", "f′ =", "dy/dx =", "d f/dx="])
def test_a_derivative_is_no_function_to_differentiate(side: str) -> None:
    with pytest.raises(UserError, match="begins a derivative: write the function itself"):
        parse_program(f"{side} 2*x")
    assert parse_derivative(f"{side} 2*x", ["x"]) == parse("2*x", ["x"])


@pytest.mark.parametrize("error", [RecursionError, MemoryError, ValueError])
def test_what_python_cannot_read_is_nested_too_deeply(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(ast, "parse", fail)
    assert refusal("x + 1") == "cannot read 'x + 1': it is nested too deeply"


def test_an_error_that_python_places_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise SyntaxError("it is odd")

    monkeypatch.setattr(ast, "parse", fail)
    assert refusal("x + 1").splitlines()[0] == "cannot read 'x + 1': it is odd"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x!", " at column 2: '!' is not expected there"),
        ("f'(x)", " at column 2: quotes and primes are not read"),
        ("007 + x", " at column 1: a number does not begin with 0 there"),
        ("x + ", ": it ends too early"),
        ("(x]", " at column 3: closing parenthesis ']' does not match opening parenthesis '('"),
        ("²x", ": '²' has nothing before it that is raised: write x^2"),
        ("3*^2", ": '^' has nothing before it that is raised: write x^2"),
        ("(**2)", ": '**' has nothing before it that is raised: write x^2"),
    ],
)
def test_where_it_cannot_be_read_on(text: str, problem: str) -> None:
    assert refusal(text).splitlines()[0].partition(text.strip())[2].lstrip("'\"") == problem


def test_the_value_may_be_called_y() -> None:
    assert parse_program("y = x**2") == parse_program("x**2")
    assert parse_program("u = 2*x; y = u**2") == parse_program("u = 2*x; f = u**2")


def test_a_comma_is_not_dropped() -> None:
    assert refusal("sin(x,)").startswith("a comma before )")


def test_a_bracket_around_nothing() -> None:
    assert refusal("2*()").startswith("a bracket around nothing at column 3 is not allowed")


def test_names_of_intermediates() -> None:
    longest = "U" + 19 * "u"
    program = parse_program(f"{longest} = x; v_2 = {longest}; v_2*2")
    assert [step.name for step in program] == [longest, "v_2", "f"]
    for name, shown in [("f", "f"), ("uñ", "uñ"), (longest + "u", longest + "u"), ("pi", "pi")]:
        assert refusal_of_program(f"{name} = x; f = {name}") == (
            f"'{shown}' cannot name an intermediate: take up to 20 letters and digits, and "
            "no name that means something else"
        )
    assert refusal_of_program("u == x; f = u").startswith("'u == x' has no name: write it as u = …")


def test_an_empty_expression_is_told_what_to_write() -> None:
    told = "the expression is empty: write a function of x such as sin(x**2)"
    assert refusal_of_program(" ;\n; ") == told


def test_functions_up_to_the_largest_are_read() -> None:
    """A sum of a thousand x, 1,999 operations, with one minus before it and with two."""
    program = f"u = {'+'.join(10 * 'x')}; v = {'+'.join(10 * 'u')}; f = -({'+'.join(10 * 'v')})"
    parse_program(program)
    assert refusal_of_program(program.replace("-", "--")) == (
        "f expressed in x has 2,001 operations, at most 2,000 are allowed: "
        "use fewer intermediates inside each other"
    )
    assert refusal_of_program("atan(" * 59 + "x" + ")" * 59) == (
        "the derivatives of the expression have more than 15,000 operations: "
        "simplify it, or nest less in it"
    )
