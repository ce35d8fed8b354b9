"""The job of `midterm train` as a plain script: data, training, evaluation, figure.

python -m benchmarks.plain_script DATA_DIR NUM_SEEDS FIGURE
"""

from __future__ import annotations

import copy
import sys

import matplotlib as mpl
import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torchvision.datasets import FashionMNIST

from benchmarks.plain import make_net

mpl.use("Agg")

SIZES, BATCH_SIZE, LR, GAMMA, EPOCHS, SKIP = (784, 32, 16, 12, 10), 8, 1e-3, 1e-3, 25, 2


def train(data_dir: str, seed: int) -> list[list[tuple[float, float]]]:
    """Loss and accuracy of raw and averaged weights, on train and test, after every epoch."""
    torch.manual_seed(seed)
    full, test = FashionMNIST(data_dir, train=True), FashionMNIST(data_dir, train=False)
    subset = torch.randperm(len(full.data))[: len(full.data) // 10]
    x, y = full.data[subset].flatten(1).float(), full.targets[subset]
    mean = x.mean(0)
    x = x - mean
    x_test, y_test = test.data.flatten(1).float() - mean, test.targets
    net = make_net(SIZES)
    averaged = copy.deepcopy(net)
    weights = list(net.parameters())
    history = []
    for _ in range(EPOCHS):
        for _ in range(round(len(x) / BATCH_SIZE)):
            batch = torch.randint(len(x), (BATCH_SIZE,))
            loss = cross_entropy(net(x[batch]), y[batch])
            gradients = torch.autograd.grad(loss, weights)
            with torch.no_grad():
                for weight, gradient in zip(weights, gradients, strict=True):
                    weight.sub_(LR * gradient)
                for average, weight in zip(averaged.parameters(), weights, strict=True):
                    average.mul_(1 - GAMMA).add_(GAMMA * weight)
        with torch.no_grad():
            history.append(
                [
                    (cross_entropy(z, b).item(), (z.argmax(1) == b).double().mean().item())
                    for model in (net, averaged)
                    for a, b in ((x, y), (x_test, y_test))
                    for z in (model(a),)
                ]
            )
    return history


def main(data_dir: str, num_seeds: int, figure_path: str) -> None:
    """Train, print the last row, draw the 2 × 2 figure."""
    import matplotlib.pyplot as plt

    history = np.array([train(data_dir, seed) for seed in range(num_seeds)])[:, SKIP:]
    figure, axes = plt.subplots(2, 2)
    for row in range(2):
        for column in range(2):
            for model in range(2):
                axes[row, column].plot(history[:, :, 2 * model + column, row].mean(0))
    figure.savefig(figure_path)
    sys.stdout.write(f"{history[:, -1].mean(0).round(3).tolist()}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
