"""Part 3: where training fails, and what averaging the weights gains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from midterm_cli.report.answers import again, answer, numbers
from midterm_cli.report.document import (
    Block,
    Formula,
    Heading,
    Items,
    Paragraph,
    Prose,
    Section,
    Table,
    prose,
)
from midterm_cli.report.figures import Words, pictures
from midterm_cli.report.numerals import count, fixed, interval, latex, short, short_interval, value
from midterm_cli.report.runs import Run, Runs

METRICS = {
    "train_loss": "train loss",
    "train_accuracy": "train accuracy",
    "test_loss": "test loss",
    "test_accuracy": "test accuracy",
}
UPDATES = r"""
\begin{align*}
w_{t+1} &= w_t - \eta\, g_t \\
\bar w_{t+1} &= (1 - \gamma)\, \bar w_t + \gamma\, w_{t+1}
\end{align*}
"""


def part3(runs: Runs) -> Section:
    """The perceptron: learning rate, training, averaged weights."""
    setting = prose(
        "A perceptron with three hidden layers learns to tell ten kinds of clothing apart "
        "(Fashion-MNIST, a tenth of the training set), by SGD with small minibatches on the "
        "cross-entropy. Pixels are not scaled; the subset's mean image is subtracted. One pass is "
        "as many updates as it takes to draw as many examples as the subset holds."
    )
    averaging = prose(
        r"Implement SGD with rate $\eta$ beside averaged SGD, whose weights $\bar w$ follow those "
        r"of SGD with weight $\gamma$ of the new value, from $\bar w_0 = w_0$:"
    )
    sweep = prose(
        "Double the learning rate until training fails within one pass. Which rate is the first to "
        "fail, and which rate should be trained at?"
    )
    training = prose(
        "Train for several passes. Compare the raw and the averaged weights by loss and accuracy "
        "on the training and the test set, without the first two passes. Is averaged SGD better, "
        "and is it smoother?"
    )
    both_sweeps = ["lr_sweep", "reference/lr_sweep"]
    return Section(
        "part-3",
        "Part 3. Optimising a multi-layer perceptron",
        [
            Paragraph(setting),
            Paragraph(
                prose(
                    "The exercise means a network with ReLU. The published one was linear by "
                    "mistake, as is shown below: so each question is answered for both."
                )
            ),
            Heading("averaging", "A. SGD and averaged SGD"),
            Paragraph(averaging, "Question"),
            Formula(UPDATES),
            *answer(runs, ["train"], _averaging),
            Heading("lr-sweep", "B. The divergent learning rate"),
            Paragraph(sweep, "Question"),
            *answer(runs, both_sweeps, _two_sweeps),
            *answer(runs, ["lr_sweep"], _sweep),
            *answer(runs, ["reference/lr_sweep"], _sweep),
            Heading("train", "C. Raw and averaged weights"),
            Paragraph(training, "Question"),
            *answer(runs, ["train", "reference/train"], _claim),
            *answer(runs, ["train"], _training),
            *answer(runs, ["reference/train"], _training),
        ],
    )


def learning_in_brief(sweep: Run, train: Run) -> Iterator[Block]:
    """Part 3 in two sentences."""
    found = sweep.results
    gain = next(entry for entry in _comparison(train) if entry["metric"] == "test_loss")["gain"]
    held, claims = _held(train)
    yield Paragraph(
        prose(
            f"The {network(sweep)} network trains at {_rate(found['last_stable_lr'])} and fails "
            f"at {_rate(found['first_divergent_lr'])}{_half(found)}. In the end averaging gains "
            f"{interval(gain)} nats of test loss; of {count(claims)} claims that averaged weights "
            f"are better or smoother, {count(held)} hold at 95 %."
        ),
        "Part 3",
    )


def network(run: Run) -> str:
    """What its activation makes a network."""
    names = {"relu": "ReLU", "identity": "linear"}
    activation = str(run.document["config"]["activation"])
    return names.get(activation, activation)


def _averaging(run: Run) -> Iterator[Block]:
    entry = run.results["final"]["weights"][1]
    yield Paragraph(
        prose(
            r"$\bar w$ takes no part in the updates; it is only evaluated. With "
            rf"$\gamma = {latex(entry['gamma'])}$ it forgets half of a value in "
            f"{short(entry['half_life'])} updates, and one pass has "
            f"{count(run.results['num_updates'])}: so after the first pass the start still weighs "
            f"{fixed((1 - value(entry['gamma'])) ** run.results['num_updates'], 2)}, and after the "
            f"last ${latex(entry['weight_of_start'], 2)}$."
        ),
        "Answer",
    )
    yield Paragraph(
        prose(
            r"A value's weight in the average halves every $\ln 2 / (-\ln(1-\gamma))$ updates, "
            "since, unrolled,"
        ),
        "Derivation",
    )
    yield Formula(r"\bar w_t = (1-\gamma)^t w_0 + \gamma \sum_{s=1}^{t} (1-\gamma)^{t-s} w_s")


# ---- B


def _rate(lr: Any) -> str:
    return "none of the rates tried" if lr is None else short(lr)


def _half(results: Mapping[str, Any]) -> str:
    threshold = results["threshold_lr"]
    return f"; half of the seeds fail at {short_interval(threshold)}" if threshold else ""


def _two_sweeps(relu: Run, linear: Run) -> Iterator[Block]:
    yield Paragraph(
        prose(
            "Failure is random: near the threshold some seeds fail and others do not. So the "
            "answer is a share of failures at each rate, over seeds, and the rate at which half of "
            "them fail. A run has failed when its loss or a weight is not finite, or when it has "
            "collapsed: its loss is no better than that of guessing the class frequencies whatever "
            f"the image ({fixed(relu.results['constant_guess_loss'])} nats; $\\ln 10$ for ten "
            "equally frequent ones), or it gives nearly every image one and the same class."
        ),
        "Answer",
    )
    rows = [_sweep_row(run) for run in (relu, linear)]
    columns = [
        "network",
        "last stable",
        "first divergent",
        "half of the seeds fail at",
        "how they fail",
        "to train at",
    ]
    yield Table(
        prose("Where training fails, with 95 % intervals"),
        [prose(column) for column in columns],
        rows,
    )


def _sweep_row(run: Run) -> list[Prose]:
    found = run.results
    threshold = found["threshold_lr"]
    return [
        prose(network(run)),
        prose(_rate(found["last_stable_lr"])),
        prose(_rate(found["first_divergent_lr"])),
        prose(short_interval(threshold) if threshold else "–"),
        prose(ways_to_fail(run)),
        prose("–" if found["recommended_lr"] is None else short(found["recommended_lr"])),
    ]


def ways_to_fail(run: Run) -> str:
    """How many runs of a sweep collapsed, and how many left the finite numbers."""
    rates = run.results["rates"]
    collapsed, non_finite = (
        sum(value(rate[way]) for rate in rates) for way in ("collapsed", "non_finite")
    )
    return f"{short(collapsed)} collapse, {short(non_finite)} not finite"


def _sweep(run: Run) -> Iterator[Block]:
    found = run.results
    rates = [rate["lr"] for rate in found["rates"]]
    words = Words(
        f"Above, the final train loss of every run against the learning rate, {short(rates[0])} to "
        f"{short(rates[-1])}; below, the share of seeds that fail at each rate, with intervals. "
        f"Marked: the last stable rate, {_rate(found['last_stable_lr'])}, and the first divergent, "
        f"{_rate(found['first_divergent_lr'])}.",
        prose(
            f"The {network(run)} network: final train loss and failures against the learning rate."
        ),
    )
    yield from pictures(run, {"lr_sweep": words})
    yield from numbers(run)
    yield again(run.preset)


# ---- C


def _comparison(run: Run) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = run.results["comparison"]
    return found


def _claims() -> dict[tuple[str, str], tuple[str, float]]:
    """(metric, key in its comparison) → the claim in words, and the value of no difference."""
    claims = {}
    for metric, name in METRICS.items():
        better = "lower" if metric.endswith("loss") else "higher"
        claims[metric, "gain"] = f"{better} {name}, by", 0.0
        claims[metric, "roughness_ratio"] = f"smoother {name}, times", 1.0
    return claims


def _verdict(entry: Mapping[str, Any] | None, neutral: float) -> str:
    """Whether the whole interval is on the claim's side."""
    if entry is None or entry["low"] is None:
        return "no interval"
    if value(entry["low"]) > neutral:
        return "holds"
    return "the opposite holds" if value(entry["high"]) < neutral else "not shown"


def _entries(run: Run) -> Iterator[tuple[str, Mapping[str, Any] | None, float]]:
    """Each claim in words, its interval, and the value of no difference."""
    by_metric = {entry["metric"]: entry for entry in _comparison(run)}
    for (metric, key), (words, neutral) in _claims().items():
        yield words, by_metric[metric][key], neutral


def _held(run: Run) -> tuple[int, int]:
    """How many of the claims hold, of how many."""
    verdicts = [_verdict(entry, neutral) for _, entry, neutral in _entries(run)]
    return verdicts.count("holds"), len(verdicts)


def _claim(relu: Run, linear: Run) -> Iterator[Block]:
    counts = [f"{_held(run)[0]} for the {network(run)} network" for run in (relu, linear)]
    yield Paragraph(
        prose(
            "The published conclusion is: lower loss, higher accuracy, smoother curves. Of the "
            f"{len(_claims())} claims in this, those hold whose whole interval lies on the claim's "
            f"side: **{' and '.join(counts)}**."
        ),
        "Answer",
    )
    rows = [
        [
            prose(words),
            *_claim_cells(one, neutral),
            *_claim_cells(other, neutral),
        ]
        for (words, one, neutral), (_, other, _) in zip(
            _entries(relu), _entries(linear), strict=True
        )
    ]
    columns = ["claim on averaged weights"]
    for run in (relu, linear):
        columns += [f"{network(run)} [95 %]", "verdict"]
    seeds = " and ".join(
        dict.fromkeys(count(len(run.results["outcomes"])) for run in (relu, linear))
    )
    config = relu.document["config"]
    yield Table(
        prose(
            f"Averaged against raw weights of the same seed, {seeds} seeds: gains after pass "
            f"{count(relu.results['final']['epoch'])}, smoothness without the first "
            f"{count(config['skip_passes'])} passes"
        ),
        [prose(column) for column in columns],
        rows,
    )
    yield Items(
        [
            prose(
                f"Both networks are trained at {short(config['lr'])}, as the published one was: "
                "not at the rate that B recommends for each."
            ),
            prose(
                "The intervals are Student's, over the differences within each seed: seeds differ "
                "by more than averaging gains, and pairing takes that out."
            ),
            prose(
                "Smoothness is the mean absolute change from one pass to the next: the raw "
                "weights' over the averaged weights', as a geometric mean over seeds. Above 1 the "
                "average is smoother."
            ),
        ]
    )


def _claim_cells(entry: Mapping[str, Any] | None, neutral: float) -> list[Prose]:
    places = 3 if neutral == 0 else 2
    text = "–" if entry is None else interval(entry, places)
    return [prose(text), prose(_verdict(entry, neutral))]


def _training(run: Run) -> Iterator[Block]:
    results = run.results
    raw, averaged = results["final"]["weights"][:2]
    words = Words(
        "Four panels against the pass: train and test, loss above and accuracy below, for raw and "
        "averaged weights, as means over seeds with their range. In the end the test accuracy is "
        f"{fixed(raw['test_accuracy']['mean'])} raw and "
        f"{fixed(averaged['test_accuracy']['mean'])} averaged.",
        prose(
            f"The {network(run)} network, rate {short(run.document['config']['lr'])}: loss and "
            "accuracy of raw and averaged weights, mean and range over seeds."
        ),
    )
    yield from pictures(run, {"curves": words})
    # What averaging gains is in the table of claims.
    final, *_ = numbers(run)
    yield final
    yield again(run.preset)
