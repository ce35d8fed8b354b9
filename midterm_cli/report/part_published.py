"""The published solution and ours: where they differ, by numbers of our runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, stdev

import numpy as np

from midterm_cli.report import published
from midterm_cli.report.answers import answer
from midterm_cli.report.document import (
    Block,
    Code,
    Formula,
    Heading,
    Notice,
    Paragraph,
    Prose,
    Section,
    Table,
    prose,
)
from midterm_cli.report.numerals import count, fixed, latex, short, value
from midterm_cli.report.part_convolution import OUTPUT_SIZE
from midterm_cli.report.part_learning import METRICS, network, ways_to_fail
from midterm_cli.report.runs import Run, Runs


def comparison(runs: Runs) -> Section:
    """Four slips of the published solution."""
    return Section(
        "published",
        "The published solution and ours",
        [
            Paragraph(
                prose(
                    f"Published figures are quoted from {published.SOURCE}. Ours come from the "
                    "runs of this report."
                )
            ),
            Heading("linear", "The network was linear"),
            *answer(runs, ["train", "reference/train"], _linear_network),
            Heading("stale-inverse", "The inverse goes stale"),
            *answer(runs, ["module"], _stale_inverse),
            Heading("floor", "A size is floored, not rounded"),
            *answer(runs, ["conv"], _floor),
            Heading("nan-rule", "Failure is not only NaN"),
            *answer(runs, ["lr_sweep", "reference/lr_sweep"], _nan_rule),
        ],
    )


# ---- the linear network


def _linear_network(relu: Run, linear: Run) -> Iterator[Block]:
    if any(len(run.results["outcomes"]) < 2 for run in (relu, linear)):
        yield Notice(prose("**Not shown:** where one more run would lie takes two seeds to tell."))
        return
    rows = []
    inside = {relu.preset: 0, linear.preset: 0}
    for logged in published.figures().training_log:
        row = [
            prose(f"{METRICS[logged.metric]}, pass {logged.epoch}"),
            prose(f"{logged.value:.3f}"),
        ]
        for run in (linear, relu):
            seeds = _raw(run, logged.epoch, logged.metric)
            low, high = one_more_run(seeds)
            holds = low <= logged.value <= high
            inside[run.preset] += holds
            verdict = "inside" if holds else "**outside**"
            row.append(prose(f"{fixed(fmean(seeds))} [{fixed(low)}, {fixed(high)}] {verdict}"))
        rows.append(row)
    total = len(rows)
    yield Paragraph(
        prose(
            "The published `forward` calls ReLU and drops what it returns, so that nothing but "
            "linear layers is left. Its training log tells: of the published figures below, "
            f"**{inside[linear.preset]} of {total}** lie where one more run of a linear network "
            f"would be expected, and **{inside[relu.preset]} of {total}** where one of a ReLU "
            "network would. `activation: identity` repeats the publication, `activation: relu` is "
            "what the exercise means."
        )
    )
    columns = ["raw weights", "published", network(linear), network(relu)]
    yield Table(
        prose("One published run, and the 95 % interval for one more run beside our seeds"),
        [prose(column) for column in columns],
        rows,
    )


def _raw(run: Run, epoch: int, metric: str) -> list[float]:
    """A metric of the raw weights after a pass, one value a seed."""
    rows: Sequence[Mapping[str, object]] = run.results["history"]
    return [value(row[metric]) for row in rows if row["epoch"] == epoch and row["weights"] == "raw"]


def one_more_run(seeds: Sequence[float]) -> tuple[float, float]:
    """The 95 % prediction interval of Student's t for one more seed: m ± t s sqrt(1 + 1/n)."""
    from scipy.special import stdtrit

    if len(seeds) < 2:
        raise ValueError("a prediction interval needs two seeds")
    reach = float(stdtrit(len(seeds) - 1, 0.975)) * stdev(seeds) * math.sqrt(1 + 1 / len(seeds))
    return fmean(seeds) - reach, fmean(seeds) + reach


# ---- the stale inverse


def _stale_inverse(run: Run) -> Iterator[Block]:
    results = run.results
    check = results["checks"]["grad_M"]["finite_differences"]
    dropped, largest = (
        float(np.abs(matrix).max()) for matrix in (through_inverse(results), results["grad_M"])
    )
    yield Paragraph(
        prose(
            "The published module inverts $M$ once, in its constructor. After an update of $M$ it "
            r"goes on with the inverse of the old one, and a second backward pass fails, since the "
            "graph of that inversion is gone. Ours solves with the current $M$ in every forward "
            r"pass. A kept inverse lacks the part of $\partial\varphi/\partial M$ that runs "
            "through it:"
        )
    )
    yield Formula(
        r"\frac{\partial\varphi}{\partial M} = "
        r"\underbrace{2\, v g^\top}_{\text{through the inverse}} - 2\,(D v)\, x^\top"
    )
    yield Paragraph(
        prose(
            f"In our run the largest entry of that part is ${latex(dropped)}$, that of the whole "
            f"gradient ${latex(largest)}$. Finite differences solve anew with each moved $M$; they "
            f"agree with our gradient to ${latex(check['relative'], 2)}$, relative."
        )
    )


def through_inverse(results: Mapping[str, object]) -> np.ndarray:
    """2 v gᵀ with v = M⁻ᵀ (x - g), the part of ∂φ/∂M that a kept inverse lacks; (d, d)."""
    matrix, x, g = (np.asarray(results[key], dtype=float) for key in ("M", "x", "g"))
    return np.asarray(2 * np.outer(np.linalg.solve(matrix.T, x - g), g))


# ---- the floor


def _floor(run: Run) -> Iterator[Block]:
    yield Paragraph(
        prose(
            f"The published arithmetic for an output's size arrives at {published.OUTPUT_SIZE}, "
            "which is to be floored, not rounded: a window that does not fit as a whole gives no "
            "output."
        )
    )
    yield Formula(OUTPUT_SIZE)
    steps = [step for step in run.results["steps"] if "floor" in step]
    yield Paragraph(prose("Our run: ", *(Code(step) for step in steps[:1]), "."))


# ---- the rule that looks for NaN


def _nan_rule(relu: Run, linear: Run) -> Iterator[Block]:
    known = published.figures()
    yield Paragraph(
        prose(
            "The published search doubles the rate until the loss is NaN: "
            f"{short(known.last_stable_lr)} trains, {short(known.nan_lr)} does not, and half of "
            f"the former, {short(known.chosen_lr)}, is taken for training. That rule finds what a "
            "linear network does. The units of a ReLU network die instead: its loss is finite, "
            "and stays at that of a constant guess."
        )
    )
    columns = ["network", "first divergent", "by the rule for NaN alone", "failures"]
    yield Table(
        prose("The first divergent rate by two rules, in the same trials"),
        [prose(column) for column in columns],
        [_nan_row(run) for run in (linear, relu)],
    )


def _nan_row(run: Run) -> list[Prose]:
    results = run.results
    found = [results["first_divergent_lr"], results["nan_rule_divergent_lr"]]
    cells = [prose("none found" if lr is None else short(lr)) for lr in found]
    total = count(len(results["trials"]))
    return [prose(network(run)), *cells, prose(f"{ways_to_fail(run)}, of {total} runs")]
