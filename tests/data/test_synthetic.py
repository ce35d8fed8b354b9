import numpy as np

from midterm_cli.data.synthetic import CLASS_NAMES, draw_shapes


def test_shapes_are_balanced_and_seeded() -> None:
    images, labels = draw_shapes(200, seed=(0, 0))

    assert images.shape == (200, 28, 28)
    assert np.bincount(labels).tolist() == [20] * len(CLASS_NAMES)
    np.testing.assert_array_equal(draw_shapes(200, seed=(0, 0))[0], images)
    for other in ((0, 1), (1, 0)):
        assert not np.array_equal(draw_shapes(200, seed=other)[0], images)


def test_shapes_can_be_learnt_but_not_fully_by_a_linear_model() -> None:
    def draw(n: int, split: int) -> tuple[np.ndarray, np.ndarray]:
        images, labels = draw_shapes(n, seed=(0, split))
        return np.column_stack([images.reshape(n, -1) / 255, np.ones(n)]), labels

    inputs, labels = draw(6_000, 0)
    ridge = inputs.T @ inputs + np.eye(inputs.shape[1])
    weights = np.linalg.solve(ridge, inputs.T @ np.eye(10)[labels])
    inputs, labels = draw(1_000, 1)
    accuracy = np.mean((inputs @ weights).argmax(1) == labels)
    assert 0.4 < accuracy < 0.9
