"""What a seed draws: its subset and its minibatches."""

import math

import numpy as np

from midterm_cli.part3.sampling import draw_minibatches, draw_subset, num_updates, subset_size

IMAGES = np.random.default_rng(7).integers(0, 256, (60, 20), dtype=np.uint8)


def test_counts_of_the_exercise() -> None:
    assert subset_size(10, 1e-9) == 1
    assert subset_size(60_000, 0.1) == 6000
    assert num_updates(6000, 8) == 750
    assert num_updates(1, 8) == 1


def test_what_is_drawn_stays_that_of_the_seed() -> None:
    """Literal values, so that later versions repeat the runs of this one."""
    rows = draw_subset(np.zeros((60_000, 1), dtype=np.uint8), 0.1, seed=3).rows
    assert (rows[:5].tolist(), rows[-1]) == ([11, 15, 17, 46, 49], 59997)
    drawn = draw_minibatches(6000, 8, "replacement", seed=3, epoch=1)
    assert drawn[0].tolist() == [3696, 4987, 3959, 2039, 1621, 5500, 3855, 4237]
    shuffled = draw_minibatches(6000, 8, "shuffle", seed=3, epoch=1)
    assert shuffled[-1].tolist() == [4373, 102, 1089, 3845, 1479, 2323, 3968, 1232]


def test_minibatches_depend_on_seed_and_epoch_alone() -> None:
    a = draw_minibatches(6000, 8, "replacement", 0, 1)
    assert a.shape == (750, 8)
    assert np.array_equal(a, draw_minibatches(6000, 8, "replacement", 0, 1))
    assert not np.array_equal(a, draw_minibatches(6000, 8, "replacement", 0, 2))
    assert not np.array_equal(a, draw_minibatches(6000, 8, "replacement", 1, 1))


def test_sampling_with_replacement_repeats_and_shuffle_does_not() -> None:
    # Of n draws with replacement a share 1/e of the examples is never drawn.
    drawn = len(np.unique(draw_minibatches(6000, 8, "replacement", 0, 1)))
    assert abs(drawn / 6000 - (1 - 1 / math.e)) < 0.02
    shuffled = draw_minibatches(6000, 8, "shuffle", 0, 1)
    assert np.array_equal(np.sort(shuffled.ravel()), np.arange(6000))
    # 7 in batches of 4 is two updates: all seven, then one of a second shuffle.
    odd = draw_minibatches(7, 4, "shuffle", 0, 1)
    assert odd.shape == (2, 4)
    assert np.array_equal(np.sort(odd.ravel()[:7]), np.arange(7))


def test_subset_is_drawn_without_replacement_and_centred_exactly() -> None:
    subset = draw_subset(IMAGES, 0.5, seed=1)
    assert len(np.unique(subset.rows)) == len(subset.rows) == 30
    centred = IMAGES[subset.rows] - subset.mean
    assert np.abs(centred.mean(0)).max() < 1e-12
    assert not np.array_equal(subset.rows, draw_subset(IMAGES, 0.5, seed=2).rows)
    assert np.array_equal(draw_subset(IMAGES, 1.0, seed=1).rows, np.arange(60))
