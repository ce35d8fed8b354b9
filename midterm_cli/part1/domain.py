"""Where a function of x is defined: which term fails, where the domain ends, what f' does there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from midterm_cli.errors import UserError
from midterm_cli.part1.exact import UndefinedError, UnsureError
from midterm_cli.part1.expression import (
    Binary,
    Call,
    Expr,
    Number,
    Program,
    constant,
    evaluate,
    evaluate_program,
    integer,
    nodes,
    slope_in_x,
    torch_arithmetic,
)
from midterm_cli.part1.printing import to_text
from midterm_cli.part1.reference import sign_at, slope_at
from midterm_cli.part1.rounding import ROUNDING_FACTOR, rounding_bound

_HOLDS: dict[str, Callable[[Tensor], Tensor]] = {
    "> 0": lambda a: a > 0,
    "≥ 0": lambda a: a >= 0,
    "≠ 0": lambda a: a != 0,
    "in [-1, 1]": lambda a: a.abs() <= 1,
}

EDGE_ULPS = 8
"""A point within so many units of rounding of an edge is the edge: decimals cannot say more."""
_SMALLEST = 1e-290
"""0 is rounded as if it were so far away."""


@dataclass(frozen=True)
class Condition:
    """`term` is defined where `argument` satisfies `requirement`, a key of _HOLDS."""

    term: Expr
    argument: Expr
    requirement: str


@lru_cache(maxsize=256)  # asked again in every step of a bisection
def conditions(expr: Expr) -> tuple[Condition, ...]:
    """What each operation of `expr` asks of its operands, in order of evaluation."""
    found = []
    for node in nodes(expr):
        match node:
            case Call("log", argument):
                found.append(Condition(node, argument, "> 0"))
            case Call("sqrt", argument):
                found.append(Condition(node, argument, "≥ 0"))
            case Call("asin" | "acos", argument):
                found.append(Condition(node, argument, "in [-1, 1]"))
            case Call("tan", argument):
                found.append(Condition(node, Call("cos", argument), "≠ 0"))
            case Binary("/", _, divisor):
                found.append(Condition(node, divisor, "≠ 0"))
            case Binary("**", base, exponent) if requirement := _power_requirement(exponent):
                found.append(Condition(node, base, requirement))
    return tuple(found)


def _power_requirement(exponent: Expr) -> str | None:
    if (n := integer(exponent)) is not None:
        return None if n >= 0 else "≠ 0"
    value = constant(exponent)
    return "≥ 0" if value is not None and value > 0 else "> 0"


def defined(program: Program, x: Tensor) -> Tensor:
    """Where every step is defined and finite; a mask of the shape of `x`, which is float64."""
    mask = _in_domain(program, x)
    for value in evaluate_program(program, x).values():
        mask = mask & value.isfinite()
    return mask


def _in_domain(program: Program, x: Tensor) -> Tensor:
    """Where every step is defined, be it too large for float64."""
    values = evaluate_program(program, x)
    mask = torch.ones_like(x, dtype=torch.bool)
    for step in program:
        for condition in conditions(step.expr):
            argument = evaluate(condition.argument, values, torch_arithmetic(x))
            mask = mask & _HOLDS[condition.requirement](argument)
    return mask


def undefined_term(program: Program, x: float) -> tuple[Condition, float] | None:
    """The first condition that fails at `x` with the value that fails it, or None."""
    point = torch.tensor(x, dtype=torch.float64)
    values = evaluate_program(program, point)
    for step in program:
        for condition in conditions(step.expr):
            argument = evaluate(condition.argument, values, torch_arithmetic(point))
            if not _HOLDS[condition.requirement](argument):
                return condition, float(argument)
    return None


def find_edge(program: Program, inside: float, outside: float) -> float:
    """The last float64 of the domain on the way from `inside` to `outside`, by bisection.

    Args:
        program: the function.
        inside: a point of the domain.
        outside: a point that is not.
    """
    ends = (torch.tensor(end, dtype=torch.float64) for end in (inside, outside))
    return float(_bisect(lambda x: _in_domain(program, x), *ends)[0])


def _find_edges(program: Program, inside: Tensor, outside: Tensor) -> Tensor:
    return _bisect(lambda x: defined(program, x), inside, outside)[0]


def _bisect(
    holds: Callable[[Tensor], Tensor], inside: Tensor, outside: Tensor
) -> tuple[Tensor, Tensor]:
    """Neighbouring floats between each two given, of which `holds` is true and false.

    All at once, since a function may have thousands of poles; and by halving the number of floats
    in between, not their distance, since that takes 64 steps at most and 1,100 down to a pole at 0.
    """
    held, failed = _ordinal(inside), _ordinal(outside)
    while True:
        middle = (held >> 1) + (failed >> 1) + (held & failed & 1)  # their mean, without overflow
        apart = (middle != held) & (middle != failed)
        if not bool(apart.any()):
            return _from_ordinal(held), _from_ordinal(failed)
        holding = holds(_from_ordinal(middle))
        held = torch.where(apart & holding, middle, held)
        failed = torch.where(apart & ~holding, middle, failed)


def _ordinal(x: Tensor) -> Tensor:
    """Where each float64 stands in the order of all: neighbours differ by 1, and 0.0 is 0."""
    return _mirrored(x.view(torch.int64))


def _from_ordinal(position: Tensor) -> Tensor:
    return _mirrored(position).view(torch.float64)


def _mirrored(bits: Tensor) -> Tensor:
    # The bits of a negative float64 are its magnitude, above the least int64.
    return torch.where(bits < 0, torch.iinfo(torch.int64).min - bits, bits)


def edge_at(program: Program, x: float, eps: float) -> float | None:
    """The edge of the domain that `x` cannot be told from at the precision `eps`, or None.

    Args:
        program: the function.
        x: inside, outside or on the edge.
        eps: relative rounding error of the arithmetic that x is given in.
    """
    reach = EDGE_ULPS * eps * (abs(x) or _SMALLEST)
    ends = [x - reach, x + reach]
    inside = _in_domain(program, torch.tensor(ends, dtype=torch.float64)).tolist()
    if inside[0] == inside[1]:
        return None  # inside, outside, or an isolated gap
    return find_edge(program, *(ends if inside[0] else ends[::-1]))


def edges_around(program: Program, x: float) -> list[tuple[float, str]]:
    """The nearest edges of the domain on both sides of an `x` outside of it, nearest first.

    Looks at distances from 1e-9 to 1e6, geometrically spaced: a piece of the domain that is narrow
    and far away can be missed.

    Returns:
        For each side that has one, the edge and how points of the domain compare to it:
        "≥" or ">" above, "≤" or "<" below; or a point of the domain, and "=", where rounding hides
        the edge.
    """
    distances = torch.logspace(-9, 6, 1501, dtype=torch.float64)
    found: list[tuple[float, str]] = []
    for sign, closed, opened in ((1, "≥", ">"), (-1, "≤", "<")):
        points = x + sign * distances
        mask = defined(program, points) & ~_may_be_zero(program, points)
        if mask.any():
            first = int(mask.int().argmax())
            before = float(points[first - 1]) if first else x
            point = float(points[first])
            if undefined_term(program, before) is None:  # as far as rounding says, or too large
                found.append((point, "="))
                continue
            inside = find_edge(program, point, before)
            outside = math.nextafter(inside, before)
            if _hidden_pole(program, inside) is not None:
                found.append((point, "="))
            else:
                found.append((outside, opened) if _is_open(program, outside) else (inside, closed))
    return sorted(found, key=lambda edge: abs(edge[0] - x))


def _is_open(program: Program, x: float) -> bool:
    """Whether the term that fails at `x` fails on the edge itself, such as log at 0."""
    undefined = undefined_term(program, x)
    return undefined is not None and undefined[0].requirement in ("> 0", "≠ 0")


def intervals(program: Program, low: float, high: float, num_points: int) -> list[list[float]]:
    """The pieces of [low, high] on which the function is defined, split at poles.

    Found on a grid of `num_points`, edges by bisection: what lies between two grid points and
    leaves no sign change there is missed.
    """
    grid = torch.linspace(low, high, num_points, dtype=torch.float64)
    mask, signs = defined(program, grid), _divisor_signs(program, grid)
    # Between a grid point on the left and the next one on the right:
    left, right = grid[:-1], grid[1:]
    enters, leaves = ~mask[:-1] & mask[1:], mask[:-1] & ~mask[1:]
    has_pole = mask[:-1] & mask[1:] & (signs[:-1] != signs[1:]).any(-1)
    before, after = _poles(program, left[has_pole], right[has_pole])
    entries = _find_edges(program, right[enters], left[enters])
    exits = _find_edges(program, left[leaves], right[leaves])
    starts = torch.cat([grid[:1][mask[:1]], entries, after])
    ends = torch.cat([grid[-1:][mask[-1:]], exits, before])
    # Pieces lie one after the other: the k-th start belongs to the k-th end.
    return list(torch.stack([starts.sort().values, ends.sort().values], dim=-1).tolist())


def _divisor_signs(program: Program, x: Tensor) -> Tensor:
    """The signs of everything that must not be zero; a row for each point of `x`."""
    values = evaluate_program(program, x)
    divisors = [
        evaluate(condition.argument, values, torch_arithmetic(x)).expand_as(x)
        for step in program
        for condition in conditions(step.expr)
        if condition.requirement == "≠ 0"
    ]
    return torch.stack([torch.ones_like(x), *divisors], dim=-1).sign()


def _poles(program: Program, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """The last and first float beside each pole where a divisor changes its sign at `left`."""
    signs = _divisor_signs(program, left)
    before, after = _bisect(lambda x: (_divisor_signs(program, x) == signs).all(-1), left, right)
    beyond = torch.nextafter(after, torch.full_like(after, math.inf))
    return before, torch.where(defined(program, after), after, beyond)


@dataclass(frozen=True)
class Place:
    """Where a point lies.

    Attributes:
        x: the point as it was asked for.
        at: where the function is evaluated: x in the dtype, or the edge that x cannot be told from.
        is_edge: whether it is the edge of the domain.
        note: why f' is not taken here, or None.
    """

    x: float
    at: float
    is_edge: bool
    note: str | None


def locate(program: Program, x: float, dtype: torch.dtype) -> Place:
    """Find a point's place in the domain.

    Raises:
        UserError: it is outside: which term is undefined, and where the domain starts; or f' is
            asked for where `dtype` has no number for a step.
    """
    rounded = float(torch.tensor(x, dtype=dtype))
    if not math.isfinite(rounded):
        name = str(dtype).removeprefix("torch.")
        raise UserError(f"x = {x:g} is beyond the largest {name}: take another x or float64")
    where = f"{x:.15g}" if rounded == x else f"{x:.15g} ({rounded:.9g} in float32)"
    if (pole := _hidden_pole(program, rounded)) is not None:
        raise UserError(f"x = {where} is outside the domain: {pole}")
    edge = edge_at(program, rounded, torch.finfo(dtype).eps)
    if edge is not None and _is_inside(program, rounded):
        exact = _exact_edge(program, edge)
        edge = edge if exact is None or exact == rounded else None
    # Not inside, though no term fails: a value is too large.
    is_beyond = edge is None or undefined_term(program, rounded) is None
    if not _is_inside(program, rounded) and (is_beyond or _is_open(program, rounded)):
        raise UserError(_outside(program, rounded, where))
    at = rounded if edge is None else edge
    note = None
    if edge is not None and _grows_without_bound(program, edge):
        note = f"x = {x:.15g} is the edge of the domain: f' is unbounded there"
    elif edge is None and _is_isolated(program, rounded, torch.finfo(dtype).eps):
        note = f"x = {x:.15g} is a domain of its own: f has no derivative there"
    elif (reason := _without_slope(program, at, on_edge=edge is not None)) is not None:
        note = f"at x = {x:.15g} {reason}"
    elif not _finite_in(program, at, dtype):
        raise UserError(_not_finite(program, at, dtype))
    return Place(x, at, edge is not None, note)


def _without_slope(program: Program, x: float, *, on_edge: bool) -> str | None:
    """Why f' is not taken at a point of the domain, or None."""
    computed = float(_slope(program, torch.tensor(x, dtype=torch.float64)))
    if on_edge and math.isfinite(computed):
        return None
    try:
        if slope_at(program, x) is not None:
            return None
    except UndefinedError:
        return "the rules of differentiation give no number: one divides by 0, or below 1e-300"
    except UnsureError:
        return None if math.isfinite(computed) else "f' is not known, even with 400 digits"
    return "f' is too large for float64"


def _hidden_pole(program: Program, x: float) -> str | None:
    """What must not be 0 and is, where rounding in float64 makes another number of it."""
    for condition, value, error in _rounded(program, torch.tensor(x, dtype=torch.float64)):
        computed, most = float(value), float(error)
        holds = computed > 0 or (computed < 0 and condition.requirement == "≠ 0")
        # Exactly it is asked, which takes long, only of what may be rounding alone.
        may_be_zero = abs(computed) <= most < math.inf
        if holds and may_be_zero and sign_at(condition.argument, program, x) == 0:
            term, argument = to_text(condition.term), to_text(condition.argument)
            return (
                f"{term} needs {argument} {condition.requirement}, and it is 0, or below "
                f"1e-300; rounding in float64 makes it {computed:.3g}\ntake another x"
            )
    return None


def _may_be_zero(program: Program, x: Tensor) -> Tensor:
    """Where rounding alone may keep something from 0 that must not be 0; of the shape of `x`."""
    mask = torch.zeros_like(x, dtype=torch.bool)
    for _, value, error in _rounded(program, x):
        mask = mask | (value.abs() <= error)
    return mask


def _rounded(program: Program, x: Tensor) -> Iterator[tuple[Condition, Tensor, Tensor]]:
    """What must not be 0, as float64 has it at `x`, and what rounding may make of it."""
    bounded = {"x": (x, torch.zeros_like(x))}
    for step in program:
        for condition in conditions(step.expr):
            if condition.requirement in ("≠ 0", "> 0"):
                value, error = rounding_bound(condition.argument, bounded, torch.float64)
                yield condition, value, ROUNDING_FACTOR * error
        bounded[step.name] = rounding_bound(step.expr, bounded, torch.float64)


def _is_inside(program: Program, x: float) -> bool:
    return bool(defined(program, torch.tensor(x, dtype=torch.float64)))


def _exact_edge(program: Program, edge: float) -> float | None:
    """The edge where it is a number of float64, such as 1 for sqrt(1 - x), and not between two.

    Args:
        program: the function.
        edge: the last number inside.
    """
    for outside in (math.nextafter(edge, -math.inf), math.nextafter(edge, math.inf)):
        if undefined := undefined_term(program, outside):
            for x in (edge, outside):
                if sign_at(_margin(undefined[0]), program, x) == 0:
                    return x
    return None


def _margin(condition: Condition) -> Expr:
    """What is 0 at the edge, and above it inside."""
    argument = condition.argument
    if condition.requirement == "in [-1, 1]":
        return Binary("-", Number("1"), Binary("*", argument, argument))
    return argument


def _is_isolated(program: Program, x: float, eps: float) -> bool:
    """Whether f is defined on neither side of `x`."""
    reach = EDGE_ULPS * eps * (abs(x) or _SMALLEST)
    return not (_is_inside(program, x - reach) or _is_inside(program, x + reach))


def _not_finite(program: Program, x: float, dtype: torch.dtype) -> str:
    """Name the first step that is no number: f itself may be one."""
    values = evaluate_program(program, torch.tensor(x, dtype=dtype))
    first = next(step for step in program if not bool(values[step.name].isfinite()))
    what = first.name if first is program[-1] else f"{first.name} = {to_text(first.expr)}"
    other = "take another x" if dtype == torch.float64 else "take another x or float64"
    name = str(dtype).removeprefix("torch.")
    # Undefined, though x is in the domain: rounding took an argument out of it.
    problem = "undefined in" if bool(values[first.name].isnan()) else "too large for"
    return f"{what} is {problem} {name} at x = {x:.15g}: {other}"


def _finite_in(program: Program, x: float, dtype: torch.dtype) -> bool:
    values = evaluate_program(program, torch.tensor(x, dtype=dtype))
    return all(bool(value.isfinite()) for value in values.values())


def _slope(program: Program, x: Tensor) -> Tensor:
    value: Tensor = evaluate(slope_in_x(program), {"x": x}, torch_arithmetic(x))
    return value.expand_as(x)


def _grows_without_bound(program: Program, edge: float) -> bool:
    """Whether |f'| has no limit at `edge`, as far as float64 can see.

    Towards a limit the increments of |f'| die out over steps of 1e-4 each; for a power, or a
    logarithm, that grows without bound they do not.
    """
    distances = max(abs(edge), 1.0) * torch.tensor([1e-3, 1e-7, 1e-11], dtype=torch.float64)
    inward = 1.0 if _is_inside(program, edge + float(distances[0])) else -1.0
    far, near, nearest = _slope(program, edge + inward * distances).abs().tolist()
    return bool(nearest - near > 0.5 * abs(near - far) + 1e-9 * near)


def _outside(program: Program, x: float, given: str) -> str:
    undefined = undefined_term(program, x)
    if undefined is None:
        return _not_finite(program, x, torch.float64)
    condition, value = undefined
    sign = sign_at(_margin(condition), program, x)
    if value == 0 and sign != 0:
        return (
            f"{to_text(condition.argument)} rounds to 0 in float64 at x = {given}, and must be "
            f"{condition.requirement}: take another x"
        )
    if sign == 1 or (sign == 0 and condition.requirement in ("≥ 0", "in [-1, 1]")):
        return (
            f"rounding in float64 makes {to_text(condition.argument)} {value:.17g} at x = {given}, "
            f"and it must be {condition.requirement}\nwrite it so that less cancels"
        )
    term, argument = to_text(condition.term), to_text(condition.argument)
    is_value = "" if argument == "x" else f", and it is {value:.6g}"
    first = (
        f"x = {given} is outside the domain: "
        f"{term} needs {argument} {condition.requirement}{is_value}"
    )
    edges = edges_around(program, x)
    if not edges:
        return f"{first}\nno point of the domain was found within 1e6 of it: take another function"
    # Beside a pole a strip is missing where f overflows: it is as narrow as rounding.
    if len(edges) == 2 and abs(edges[0][0] - edges[1][0]) <= 1e-9 * max(abs(x), 1.0):
        return f"{first}\nthe domain lies on both sides of it: take another x"
    where, relation = edges[0]
    if relation == "=":
        return f"{first}\nx = {where:.15g} is in the domain: take another x"
    starts = "starts" if relation in "≥>" else "ends"
    # Adding 0 turns -0 into 0.
    return f"{first}\nthe domain {starts} at x {relation} {where + 0:.15g}: take x from there"
