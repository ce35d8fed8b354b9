"""Information against closed forms and an independent optimiser."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from scipy.optimize import fmin_l_bfgs_b
from scipy.special import logsumexp

from midterm_cli.part3.information import Information
from midterm_cli.part3.information import information as information_or_none
from midterm_cli.part3.outcome import constant_guess_loss

# How far a fit may be from the best, in nats: a hundredth of the standard error of 6,000 examples
# is ten times as much.
CLOSE = 1e-5


def information(logits: np.ndarray, labels: np.ndarray, num_classes: int) -> Information:
    """Of logits that are finite."""
    found = information_or_none(logits, labels, num_classes)
    assert found is not None
    return found


def a_problem(
    num_examples: int,
    shares: Sequence[float],
    signal: float,
    seed: int = 0,
    tail: float = math.inf,
) -> tuple[np.ndarray, np.ndarray]:
    """Labels of these frequencies, and logits that know them by as much as the signal says.

    Args:
        num_examples: how many.
        shares: of the classes.
        signal: what the label adds to its logit, in standard deviations of the noise.
        seed: of both.
        tail: degrees of freedom of Student's t for the noise.
    """
    rng = np.random.default_rng(seed)
    labels = rng.choice(len(shares), num_examples, p=shares)
    size = (num_examples, len(shares))
    logits = rng.normal(size=size) if math.isinf(tail) else rng.standard_t(tail, size)
    logits[np.arange(num_examples), labels] += signal
    return logits, labels


def by_scipy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Information by another optimiser, from its definition."""
    num_examples, num_classes = logits.shape
    shares = np.bincount(labels, minlength=num_classes) / num_examples
    assert shares.all()

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        z = theta[0] * logits + theta[1:]
        excess = np.exp(z - logsumexp(z, axis=1, keepdims=True))
        value = np.mean(logsumexp(z, axis=1) - z[np.arange(num_examples), labels])
        excess[np.arange(num_examples), labels] -= 1
        gradient = [(excess * logits).sum() / num_examples, *excess.mean(0)]
        return float(value), np.array(gradient)

    start = np.array([0.1, *np.log(shares)])
    bounds = [(0.0, math.inf), *[(-math.inf, math.inf)] * num_classes]
    fit = fmin_l_bfgs_b(loss, start, bounds=bounds, factr=1, pgtol=1e-10, maxiter=10_000)
    return float(-shares @ np.log(shares) - fit[1])


EVEN, FIFTH = [0.1] * 10, [0.95, 0.05]


@pytest.mark.parametrize(
    ("num_examples", "shares", "signal", "tail"),
    [
        (6000, EVEN, 2.0, math.inf),
        (6000, EVEN, 0.1, math.inf),
        (6000, EVEN, 2.0, 2.0),
        (1999, EVEN, 1.0, math.inf),
        (2000, EVEN, 1.0, math.inf),
        (6000, FIFTH, 1.0, math.inf),
        (300, [0.5, 0.5], 0.5, math.inf),
        (40, [0.3, 0.3, 0.4], 0.5, math.inf),
        (12, [0.5, 0.5], 0.3, math.inf),
    ],
)
def test_another_optimiser_finds_the_same(
    num_examples: int, shares: list[float], signal: float, tail: float
) -> None:
    logits, labels = a_problem(num_examples, shares, signal, tail=tail)
    found = information(logits, labels, len(shares))
    assert found.value == pytest.approx(by_scipy(logits, labels), abs=CLOSE)
    assert found.entropy == pytest.approx(
        constant_guess_loss(np.bincount(labels).tolist()), rel=1e-14
    )


def channel(noise: float, num_inputs: int = 4) -> np.ndarray:
    """(inputs, outputs) probabilities: the output is the input, or noise."""
    return (1 - noise) * np.eye(num_inputs) + noise / num_inputs


@pytest.mark.parametrize("noise", [0.05, 0.3, 0.8])
@pytest.mark.parametrize("copies", [1, 50])
def test_it_is_the_mutual_information_of_a_discrete_channel(noise: float, copies: int) -> None:
    # As many examples of each pair as the channel makes on average, so that the sample has the
    # mutual information of the channel itself; the logits are those of the channel, disguised.
    counts = np.rint(copies * 80 * channel(noise)).astype(int)
    joint = counts / counts.sum()
    inputs, labels = (
        part.repeat(counts.ravel()) for part in np.indices(counts.shape).reshape(2, -1)
    )
    marginals = joint.sum(1, keepdims=True) * joint.sum(0)
    mutual = float((joint * np.log(joint / marginals)).sum())
    logits = 17 * np.log(joint / joint.sum(1, keepdims=True))[inputs] + [3, -1, 40, 0]
    assert information(logits, labels, 4).value == pytest.approx(mutual, abs=CLOSE)


def test_it_comes_near_the_mutual_information_as_the_examples_grow() -> None:
    table = channel(0.4)
    mutual = float((table / 4 * np.log(4 * table)).sum())
    rng = np.random.default_rng(0)
    errors = []
    for num_examples in (100, 1000, 10_000, 100_000):
        inputs = rng.integers(4, size=num_examples)
        labels = (rng.random((num_examples, 1)) > table[inputs].cumsum(1)).sum(1)
        found = information(np.log(table)[inputs], labels, 4)
        errors.append(abs(found.value - mutual))
        assert errors[-1] < 3 * found.standard_error
    assert errors[-1] < 0.005 < errors[0]


@pytest.mark.parametrize("num_examples", [100, 3000])
@pytest.mark.parametrize("scale", [1e-30, 1e-3, 7.0, 1e6, 1e30, 1e300])
def test_no_scale_and_no_shift_of_the_logits_changes_it(num_examples: int, scale: float) -> None:
    logits, labels = a_problem(num_examples, [0.2, 0.3, 0.5], 1.0)
    plain = information(logits, labels, 3)
    rng = np.random.default_rng(1)
    shifts = rng.normal(size=3) + 10 * rng.normal(size=(num_examples, 1))
    other = information(scale * (logits + shifts), labels, 3)
    assert other.value == pytest.approx(plain.value, abs=1e-9)
    assert other.standard_error == pytest.approx(plain.standard_error, rel=1e-6)
    assert information(-scale * logits, labels, 3).value == 0


def test_float32_just_below_overflow() -> None:
    logits, labels = a_problem(3000, EVEN, 2.0)
    huge = (logits * (np.finfo(np.float32).max / np.abs(logits).max())).astype(np.float32)
    assert np.isfinite(huge).all()
    plain = information(logits.astype(np.float32), labels, 10)
    assert information(huge, labels, 10).value == pytest.approx(plain.value, abs=1e-6)


def test_order_of_examples_and_of_classes_does_not_matter() -> None:
    logits, labels = a_problem(500, [0.2, 0.3, 0.5], 1.0)
    value = information(logits, labels, 3).value
    rows = np.random.default_rng(1).permutation(500)
    assert information(logits[rows], labels[rows], 3).value == pytest.approx(value, abs=CLOSE)
    swapped = information(logits[:, [2, 0, 1]], np.array([1, 2, 0])[labels], 3)
    assert swapped.value == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("num_examples", [12, 501, 6000])
@pytest.mark.parametrize("size", [1.0, 1e30])
def test_separable_logits_know_the_labels_and_no_more(num_examples: int, size: float) -> None:
    labels = np.arange(num_examples) % 3
    found = information(size * np.eye(3)[labels], labels, 3)
    assert 0 <= found.entropy - found.value < 1e-4  # there is no best temperature
    assert found.entropy == pytest.approx(math.log(3))
    assert found.missing < 1e-4


@pytest.mark.parametrize("shares", [[0.5, 0.5], FIFTH, [0.2, 0.3, 0.5]])
def test_outputs_that_are_the_same_for_all_examples_know_nothing(shares: list[float]) -> None:
    _, labels = a_problem(200, shares, 0)
    for output in (np.zeros(len(shares)), np.arange(len(shares)) * 1e30, np.log(shares)):
        for shift in (np.zeros((200, 1)), np.arange(200.0)[:, None]):
            found = information((output + shift).astype(np.float32), labels, len(shares))
            assert (found.value, found.standard_error, found.constant) == (0, 0, True)
    assert not information(*a_problem(200, shares, 0), len(shares)).constant


def test_the_share_of_outputs_that_are_the_same() -> None:
    rng = np.random.default_rng(0)
    logits, labels = a_problem(3000, EVEN, 1.0)
    assert information(logits, labels, 10).same < 0.01
    logits[rng.permutation(3000)[:1800]] = [1e3, 2.0, -3.0, *[0.5] * 7]
    for dtype in (np.float32, np.float64):
        assert information(logits.astype(dtype), labels, 10).same == pytest.approx(0.6, abs=0.001)
    # One huge output does not make the others the same.
    wild, _ = a_problem(3000, EVEN, 1.0)
    wild[7] *= 1e12
    assert information(wild.astype(np.float32), labels, 10).same < 0.01


def test_flat_directions_overflow_nowhere() -> None:
    # The second output differs for one example of many, and by next to nothing beside the first.
    logits = np.zeros((2000, 2))
    logits[:, 0] = np.arange(2000) * 1e30
    logits[3, 1] = 1e-170
    labels = (np.arange(2000) > 1000).astype(int)
    assert information(logits, labels, 2).value == 0
    assert information(-logits, labels, 2).value > 0.69


def test_rounding_of_float32_is_no_output() -> None:
    rng = np.random.default_rng(0)
    output = np.array([1.0, 3.0, -2.0], dtype=np.float32)
    rounded = output + rng.choice([0, 1e-7, 2e-7], size=(200, 3)).astype(np.float32)
    assert information(rounded, rng.integers(3, size=200), 3).constant
    # In float64 as small a difference is one.
    assert not information(
        output.astype(np.float64) + 1e-7 * rng.normal(size=(200, 3)), rng.integers(3, size=200), 3
    ).constant


def test_a_class_without_labels_or_with_one() -> None:
    logits, labels = a_problem(500, [0.2, 0.3, 0.5, 0.0], 1.0)
    without = information(logits[:, :3], labels, 3)
    assert information(logits, labels, 4) == without
    labels[0] = 3
    assert information(logits, labels, 4).value == pytest.approx(
        by_scipy(logits, labels), abs=CLOSE
    )
    one = information(logits, np.zeros(500, dtype=int), 4)
    assert (one.value, one.entropy, one.missing) == (0, 0, 1)


def test_a_class_that_the_part_where_the_fit_begins_lacks() -> None:
    logits, labels = a_problem(4000, [0.5, 0.5, 0.0], 1.0)
    labels[1::400] = 2  # never in a multiple of eight
    logits[1::400, 2] += 1
    found = information(logits, labels, 3)
    assert found.value == pytest.approx(by_scipy(logits, labels), abs=CLOSE)


def test_a_logit_that_no_example_uses() -> None:
    logits, labels = a_problem(500, [0.2, 0.3, 0.5], 1.0)
    logits[:, 1] = 0  # a dead output
    assert information(logits, labels, 3).value == pytest.approx(
        by_scipy(logits, labels), abs=CLOSE
    )


def test_tied_logits() -> None:
    logits, labels = a_problem(3000, [0.2, 0.3, 0.5], 1.0)
    assert information(np.sign(logits), labels, 3).value == pytest.approx(
        by_scipy(np.sign(logits), labels), abs=CLOSE
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite(bad: float) -> None:
    logits, labels = a_problem(100, [0.5, 0.5], 1.0)
    logits[17, 1] = bad
    assert information_or_none(logits, labels, 2) is None


def test_one_huge_example_hides_the_others_only_if_it_is_wrong() -> None:
    logits, labels = a_problem(3000, EVEN, 3.0)
    plain = information(logits, labels, 10).value
    right, wrong = logits.copy(), logits.copy()
    right[5] = 1e6 * (np.arange(10) == labels[5])
    wrong[5] = 1e6 * (np.arange(10) != labels[5])
    assert information(right, labels, 10).value == pytest.approx(plain, abs=0.01)
    assert information(wrong, labels, 10).value < 0.01


@pytest.mark.parametrize("size", [1e4, 1e8, 1e12])
def test_one_huge_example_that_is_right_changes_next_to_nothing(size: float) -> None:
    logits, labels = a_problem(3000, EVEN, 1.0)
    plain = information(logits, labels, 10).value
    logits[5] = size * (np.arange(10) == labels[5])
    assert information(logits, labels, 10).value == pytest.approx(plain, abs=0.01)


@pytest.mark.parametrize("size", [1e3, 1e12, 1e20])
def test_huge_examples_that_the_part_where_the_fit_begins_lacks(size: float) -> None:
    logits, labels = a_problem(3000, EVEN, 3.0)
    odd = np.arange(1, 3000, 8)
    shown = labels[odd] + (np.arange(len(odd)) % 10 == 0)  # one in ten is wrong
    logits[odd] = size * np.eye(10)[shown % 10]
    expected = by_scipy(logits / size, labels)
    assert information(logits, labels, 10).value == pytest.approx(expected, abs=CLOSE)


@pytest.mark.parametrize("num_examples", [2, 3, 12, 60, 300, 2500])
@pytest.mark.parametrize("seed", range(10))
def test_extreme_logits_stay_within_the_bounds(num_examples: int, seed: int) -> None:
    rng = np.random.default_rng([num_examples, seed])
    labels = rng.integers(3, size=num_examples)
    wild = rng.standard_cauchy((num_examples, 3))
    for logits in (
        wild**3,
        wild * 10 ** rng.uniform(-30, 30, (num_examples, 1)),
        wild * 10 ** rng.uniform(-5, 5, (1, 3)),
        np.sign(wild) * 1e300,
    ):
        found = information(logits, labels, 3)
        assert 0 <= found.value <= found.entropy
        assert math.isfinite(found.standard_error)
        assert math.isfinite(found.deviations)


def test_outputs_that_depend_on_the_input_and_not_on_the_label() -> None:
    inputs, labels = np.indices((4, 3)).reshape(2, -1)
    for seed in range(50):
        table = np.random.default_rng(seed).normal(size=(4, 3))
        found = information(table[inputs], labels, 3)
        assert found.deviations < 1e-6
        assert not found.constant


@pytest.mark.parametrize(
    ("num_examples", "shares", "tail"),
    [
        (12, [0.5, 0.5], math.inf),
        (12, [0.1] * 10, math.inf),
        (60, FIFTH, math.inf),
        (60, EVEN, 1.0),
        (300, EVEN, math.inf),
    ],
)
def test_random_logits_exceed_three_standard_errors_once_in_a_hundred_times_at_most(
    num_examples: int, shares: list[float], tail: float
) -> None:
    found = [
        information(*a_problem(num_examples, shares, 0, seed, tail), len(shares))
        for seed in range(300)
    ]
    assert np.mean([known.deviations > 3 for known in found]) < 0.011
    # Half of a χ² with one degree of freedom, whatever the number of classes.
    gains = [2 * num_examples * known.value for known in found if known.entropy]
    assert np.mean(gains) == pytest.approx(0.5, abs=0.35)
    assert np.mean([gain == 0 for gain in gains]) == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("signal", [1.0, 3.0])
def test_the_standard_error_is_the_spread_over_samples(signal: float) -> None:
    found = [information(*a_problem(400, [0.25] * 4, signal, seed), 4) for seed in range(200)]
    spread = np.std([known.value - known.entropy for known in found])
    assert np.mean([known.standard_error for known in found]) == pytest.approx(spread, rel=0.15)


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_threads_do_not_change_it(threads: int) -> None:
    logits, labels = a_problem(6000, EVEN, 2.0)
    assert information(logits, labels, 10).value == pytest.approx(1.3428763, abs=1e-6)
