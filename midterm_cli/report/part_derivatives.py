"""Parts 1 and 2: automatic differentiation, soft-thresholding, a differentiable module."""

from __future__ import annotations

from collections.abc import Iterator

from midterm_cli.report import published
from midterm_cli.report.answers import again, answer, numbers
from midterm_cli.report.document import (
    Block,
    Formula,
    Heading,
    Paragraph,
    Plain,
    Section,
    Table,
    prose,
)
from midterm_cli.report.figures import Words, pictures
from midterm_cli.report.numerals import count, fixed, latex, short, value
from midterm_cli.report.runs import Run, Runs

SOFTT = r"""
f_T(y) = \begin{cases}
0 & \text{if } |y| \le T \\
(y - T)^2 & \text{if } y > T \\
(y + T)^3 & \text{if } y < -T
\end{cases}
"""
BRANCH_FREE = r"""
\begin{align*}
f_T(y) &= \operatorname{relu}(y - T)^2 - \operatorname{relu}(-y - T)^3 \\
f_T'(y) &= 2 \operatorname{relu}(y - T) + 3 \operatorname{relu}(-y - T)^2
\end{align*}
"""
GRADIENTS = r"""
\begin{align*}
\frac{\partial\varphi}{\partial x} &= 2\,(r - M^\top D v) \\
\frac{\partial\varphi}{\partial M} &= 2\,(v g^\top - (D v)\, x^\top) = G
\end{align*}
"""


def part1(runs: Runs) -> Section:
    """The derivative of a composed function."""
    question = prose(
        r"With $u = x^3$ and $y = 2 + u + \log(1 + u)$, what is the derivative of "
        r"$f(x) = \sqrt{y} + \sin y$? Give it by hand, give its value at $x = 1.432$, and let "
        "automatic differentiation confirm it."
    )
    return Section(
        "part-1",
        "Part 1. Automatic differentiation",
        [
            Paragraph(question, "Question"),
            *answer(runs, ["autodiff"], _derivative),
            Heading("float32", "The same in float32"),
            *answer(runs, ["autodiff", "reference/autodiff"], _single_precision),
        ],
    )


def derivative_in_brief(run: Run) -> Iterator[Block]:
    """Part 1 in a sentence."""
    results = run.results
    x, f, slope = results["x"], results["f"], results["derivative"]["symbolic"]
    yield Paragraph(
        prose(
            f"$f({latex(x, 6)}) = {latex(f, 5)}$ and $f'({latex(x, 6)}) = {latex(slope, 5)}$; "
            f"{len(results['derivative'])} methods agree to "
            f"${latex(results['max_relative_error'], 2)}$, relative."
        ),
        "Part 1",
    )


def _derivative(run: Run) -> Iterator[Block]:
    results = run.results
    x, slope = latex(results["x"], 6), results["derivative"]["symbolic"]
    yield Formula(
        r"f'(x) = \left(\frac{1}{2\sqrt{y}} + \cos y\right) \cdot 3x^2 \cdot "
        r"\left(1 + \frac{1}{1 + u}\right)"
    )
    yield Paragraph(
        prose(
            f"$f({x}) = {latex(results['f'], 15)}$ and $f'({x}) = {latex(slope, 15)}$. "
            f"{len(results['derivative'])} methods give this derivative, with a largest relative "
            f"difference of ${latex(results['max_relative_error'], 2)}$."
        ),
        "Answer",
    )
    low, high = results["domain"][0]
    yield Paragraph(
        prose(
            r"$f$ is defined where $1 + x^3 > 0$ and $y \ge 0$: within the plotted range, from "
            f"$x = {latex(low, 9)}$ to ${latex(high, 9)}$. At the lower edge $y = 0$, and $f'$ is "
            "unbounded."
        )
    )
    text = "Every step, followed by its derivative, which is the chain rule's factor for the next:"
    yield Paragraph(prose(text), "Derivation")
    yield Formula(_text(results["latex"]))
    yield Paragraph(
        prose(
            "Each factor and each product, with the numbers put in, is held against what autograd "
            "has for it, and each method's derivative against the symbolic one. A difference is "
            "rounding as long as it stays below the tolerance, which follows from the arithmetic."
        )
    )
    yield from numbers(run)
    words = Words(
        f"Two curves against x: above, f with its tangent at x = {x}; below, f′ with its value "
        f"{fixed(slope, 4)} marked there. A dotted line marks the edge of the domain.",
        prose(rf"$f$ with its tangent at $x = {x}$, and $f'$ below it."),
    )
    yield from pictures(run, {"autodiff": words})
    yield again(run.preset)


def _single_precision(double: Run, single: Run) -> Iterator[Block]:
    f, slope = published.figures().f, published.figures().derivative
    text = f"The published values are {short(f, 5)} and {short(slope, 5)}, in float32."
    yield Paragraph(prose(text))
    rows = [
        [
            prose(name),
            prose(short(run.results["f"], digits)),
            prose(short(run.results["derivative"]["autograd"], digits)),
            prose("accepts" if run.results["gradcheck"]["passed"] else "rejects"),
        ]
        for name, run, digits in (("float64", double, 15), ("float32", single, 8))
    ]
    columns = ["arithmetic", "$f$", "$f'$ by autograd", "`gradcheck`"]
    yield Table(prose("Two precisions"), [prose(column) for column in columns], rows)
    if reason := single.results["gradcheck"]["reason"]:
        yield Paragraph(
            prose(
                "`torch.autograd.gradcheck` rejects a correct function in float32: ",
                Plain(_text(reason)),
                ". So derivatives are checked in float64.",
            )
        )
    yield again(single.preset)


def part2(runs: Runs) -> Section:
    """The soft-threshold, and the gradients of the module made of it."""
    plot = prose(
        r"For a threshold $T > 0$, write the soft-threshold $f_T$ as a differentiable function, "
        r"draw it and its derivative. Is it differentiable at $\pm T$?"
    )
    module = prose(
        r"For a symmetric invertible parameter $M$ and an input $x$, let "
        r"$g_T(x; M) = M^{-1} f_T(M x)$, with $f_T$ taken component by component, and "
        r"$\varphi_T(x; M) = \|x - g_T(x; M)\|_2^2$. Compute the gradients of $\varphi_T$ with "
        "respect to $x$ and to $M$."
    )
    return Section(
        "part-2",
        "Part 2. A differentiable module",
        [
            Heading("softt", "A, B. Soft-thresholding"),
            Paragraph(plot, "Question"),
            Formula(SOFTT),
            *answer(runs, ["softt"], _soft_threshold),
            Heading("module", "C to E. The module and its gradients"),
            Paragraph(module, "Question"),
            *answer(runs, ["module"], _module),
        ],
    )


def softt_in_brief(softt: Run, module: Run) -> Iterator[Block]:
    """Part 2 in a sentence."""
    below, above = softt.results["one_sided"][1]["second_derivative"]
    yield Paragraph(
        prose(
            r"$f_T$ has a continuous derivative, whose slope jumps at $+T$ from "
            f"{fixed(below, 1)} to {fixed(above, 1)}. For $d = {len(module.results['x'])}$ "
            r"the gradients of $\varphi_T$ by autograd and in closed form agree to "
            f"${latex(_largest(module, 'closed_form'), 2)}$, relative."
        ),
        "Part 2",
    )


def _soft_threshold(run: Run) -> Iterator[Block]:
    results = run.results
    at_minus, at_plus = results["one_sided"]
    slopes = [abs(slope) for point in (at_minus, at_plus) for slope in point["derivative"]]
    below, above = at_plus["second_derivative"]
    yield Paragraph(
        prose(
            r"**Yes, once.** Difference quotients from either side of $\pm T$ give a derivative of "
            f"0 to within ${latex(max(slopes), 2)}$. The second derivative jumps at $+T$ from "
            f"{fixed(below)} to {fixed(above)}; at $-T$ it is "
            f"{fixed(max(map(abs, at_minus['second_derivative'])))} from both sides. "
            f"At {count(len(results['y']))} points autograd and the written-out derivative differ "
            f"by at most ${latex(results['checks']['derivative']['max_relative_difference'], 2)}$, "
            "relative."
        ),
        "Answer",
    )
    yield Paragraph(
        prose(
            r"Both powers and their derivatives vanish at $\pm T$, so the three pieces meet with "
            "one tangent; the square still has second derivative 2 there, the cube has 0:"
        ),
        "Derivation",
    )
    yield Formula(BRANCH_FREE)
    yield Paragraph(
        prose(
            "This form has no branches, and that matters to autograd: `torch.where` "
            "computes both powers, and where the one that is not taken overflows, it "
            "back-propagates NaN."
        )
    )
    threshold = latex(results["threshold"], 6)
    low, high = (short(end, 6) for end in (results["y"][0], results["y"][-1]))
    words = Words(
        f"Left, f_T against y from {low} to {high}: zero between −{threshold} and {threshold}, a "
        "parabola above, a falling cubic below. Right, its derivative, written out and by autograd "
        "on one line.",
        prose(
            rf"$f_T$ and $f_T'$ for $T = {threshold}$; written out and by autograd. The cubic on "
            "the left dwarfs the parabola on the right."
        ),
    )
    yield from pictures(run, {"softt": words})
    yield from numbers(run)
    yield again(run.preset)


def _largest(run: Run, way: str) -> float:
    """The largest relative difference of autograd's gradients from another way."""
    relative = [ways[way]["relative"] for ways in run.results["checks"].values()]
    return max(value(number) for number in relative if number is not None)


def _module(run: Run) -> Iterator[Block]:
    results = run.results
    yield Paragraph(
        prose(
            rf"For $d = {len(results['x'])}$, $T = {latex(results['threshold'], 6)}$ and a "
            rf"random $x$ and $M$ of condition number {short(results['condition_number'])}: "
            rf"$\varphi = {latex(results['phi'], 10)}$, and the gradients below. "
            f"Autograd's differ from the closed form by ${latex(_largest(run, 'closed_form'), 2)}$ "
            f"and from finite differences by ${latex(_largest(run, 'finite_differences'), 2)}$, "
            "relative to the largest entry."
        ),
        "Answer",
    )
    yield Paragraph(
        prose(
            r"From $M g = f_T(M x)$, with $D = \operatorname{diag} f_T'(M x)$, follows "
            r"$dM\, g + M\, dg = D\,(dM\, x + M\, dx)$. Solved for $dg$ and put into "
            r"$d\varphi = 2 r^\top (dx - dg)$, with $r = x - g$ and $v = M^{-\top} r$:"
        ),
        "Derivation",
    )
    yield Formula(GRADIENTS)
    yield Paragraph(
        prose(
            r"$G$ is the gradient for a free $M$. On symmetric matrices only its symmetric part "
            r"$(G + G^\top)/2$ acts, and that is what a symmetric parameter receives."
        )
    )
    largest = max(abs(entry) for entry in results["grad_x"])
    words = Words(
        "Two heat maps of the gradient with respect to M, free and symmetric, with their values, "
        f"and the gradient with respect to x as bars, the longest {short(largest)}.",
        prose(r"$G$, its symmetric part, and $\partial\varphi/\partial x$."),
    )
    yield from pictures(run, {"module": words})
    yield from numbers(run)
    yield again(run.preset)


def _text(value: object) -> str:
    """Text of a run."""
    if not isinstance(value, str):
        raise TypeError(f"not text: {value!r}")
    return value
