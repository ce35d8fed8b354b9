"""What a minibatch says before an update: its loss, and the norm of its gradient."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from midterm_cli.part3 import host
from midterm_cli.part3.network import Network


def loss_and_gradient_norm(
    network: Network, parameters: Sequence[Tensor], x: Tensor, targets: Tensor
) -> list[tuple[float, float]]:
    """For each of K models, by autograd, in evaluation.

    Args:
        network: of the models.
        parameters: (K, *shape) each.
        x: (K, batch_size, pixels) inputs, centred and scaled.
        targets: (K, batch_size, classes), one-hot.

    Returns:
        The mean cross-entropy in nats, and the Euclidean norm of its gradient; NaN or infinite
        where they are.
    """
    found: list[Tensor] = []
    if not len(x):
        return []
    with torch.inference_mode(False), torch.enable_grad():
        for k in range(len(x)):
            # Copies, because the weights may be inference tensors, which autograd does not follow.
            leaves = [block[k].clone().requires_grad_() for block in parameters]
            loss = cross_entropy(network.logits(leaves, x[k].clone()), targets[k].clone())
            gradients = torch.autograd.grad(loss, leaves, materialize_grads=True)
            norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
            found += [loss.detach(), norm]
    values = host.read_all(found).reshape(-1, 2)
    return [(float(loss), float(norm)) for loss, norm in values]
