"""SGD with averaged weights for an ensemble: K models, one step moves them all.

Each model has its own learning rate and seed; the seed decides its training subset, its initial
weights and its minibatches, whichever models share the ensemble. The recursion, for every model:

    w_{t+1} = w_t - lr · ∇loss(w_t)              w̄_{t+1} = (1 - γ) w̄_t + γ w_{t+1},   w̄_0 = w_0
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from midterm_cli.part3.evaluate import Examples
from midterm_cli.part3.gradients import make_step
from midterm_cli.part3.network import Architecture, split_layers, stack_weights
from midterm_cli.part3.sampling import Subset, draw_minibatches, num_updates
from midterm_cli.part3.schema import GradientMethod, Sampling

# Minibatches are gathered for several steps at once, which costs a fraction of one by one; longer
# chunks than these gain nothing and drive the weights out of the cache.
_CHUNK_STEPS, _CHUNK_BYTES = 32, 4 * 2**20

CHECKS_PER_EPOCH = 8
"""How often in an epoch the weights are checked for NaN and infinity."""


@dataclass(frozen=True)
class EnsembleState:
    """Weights of some of the models of an ensemble.

    Attributes:
        models: their indices in the ensemble.
        raw: their weights, laid out for `split_layers`.
        averages: of the weights, by γ, laid out alike.
    """

    models: tuple[int, ...]
    raw: Tensor
    averages: Mapping[float, Tensor]

    def by_gamma(self) -> dict[float | None, Tensor]:
        """All kinds of weights: raw under None, the averages under their γ."""
        return dict([(None, self.raw), *self.averages.items()])

    @torch.inference_mode()
    def copied(self, device: torch.device | None = None) -> EnsembleState:
        """A copy, on the same device or on another."""
        device = device or self.raw.device
        return self._mapped(self.models, lambda flat: flat.to(device, copy=True))

    @torch.inference_mode()
    def selected(self, positions: Sequence[int], architecture: Architecture) -> EnsembleState:
        """A copy of the models at some positions of `models`."""

        def select(flat: Tensor) -> Tensor:
            layers = split_layers(flat, architecture, len(self.models))
            return torch.cat([layer[list(positions)].flatten() for layer in layers])

        return self._mapped(tuple(self.models[i] for i in positions), select)

    def _mapped(
        self, models: tuple[int, ...], function: Callable[[Tensor], Tensor]
    ) -> EnsembleState:
        averages = {gamma: function(flat) for gamma, flat in self.averages.items()}
        return EnsembleState(models, function(self.raw), averages)


class Ensemble:
    """K models in training: weights, averages, and the loop that moves them.

    Args:
        architecture: sizes and activation, the same for all.
        seeds: (K) one for each model.
        lrs: (K) learning rates.
        gammas: weights of the new value in each average that is followed.
        examples: the whole training set, held once for all models; its device is theirs.
        subsets: for each model, what it sees of the training set.
        batch_size: rows of a minibatch.
        sampling: how minibatches are drawn.
        method: which gradient.
        dtype: of weights and arithmetic.

    Attributes:
        state: of the models in training.
        frozen: states of the models that were taken out of training, by index.
        num_updates: in one epoch.
        check_every: updates from one check of the weights to the next.
    """

    def __init__(
        self,
        architecture: Architecture,
        seeds: Sequence[int],
        lrs: Sequence[float],
        gammas: Sequence[float],
        examples: Examples,
        subsets: Sequence[Subset],
        *,
        batch_size: int,
        sampling: Sampling,
        method: GradientMethod,
        dtype: torch.dtype,
    ) -> None:
        self.architecture, self.examples = architecture, examples
        self.seeds, self.lrs, self.subsets = tuple(seeds), tuple(lrs), tuple(subsets)
        self.batch_size, self.sampling, self.method = batch_size, sampling, method
        self.num_updates = num_updates(len(subsets[0].rows), batch_size)
        self.check_every = -(-self.num_updates // CHECKS_PER_EPOCH)
        self.frozen: dict[int, EnsembleState] = {}
        with torch.inference_mode():
            raw = stack_weights(architecture, seeds, dtype, examples.images.device)
            averages = {gamma: raw.clone() for gamma in gammas}
        self._train_from(EnsembleState(tuple(range(len(seeds))), raw, averages))

    @property
    def models(self) -> tuple[int, ...]:
        """Indices of the models in training."""
        return self.state.models

    def layers(self) -> list[Tensor]:
        """Raw weights of the models in training: (K, rows, fan_out) a layer, not copied."""
        return split_layers(self.state.raw, self.architecture, len(self.models))

    def restore(self, state: EnsembleState, frozen: Mapping[int, EnsembleState]) -> None:
        """Continue from a state of this ensemble, or of another with the same models."""
        device = self.examples.images.device
        self.frozen = {model: of_model.copied(device) for model, of_model in frozen.items()}
        self._train_from(state.copied(device))

    def train(self, epoch: int) -> Iterator[int]:
        """One epoch; yields the number of updates done, every so often, and at its end.

        It stops at every multiple of `check_every`, whatever the size of the ensemble.

        Args:
            epoch: 1 for the first; with the seeds it decides the minibatches.
        """
        done = 0
        self._rows = self._draw_rows(epoch)
        on_cpu = self._rows.device.type == "cpu"
        while self.models and done < self.num_updates:
            next_check = (done // self.check_every + 1) * self.check_every
            chunk = self._rows[done : min(done + len(self._minibatches), next_check)]
            self._train_chunk(chunk)
            done += len(chunk)
            # On a GPU the check would wait for all queued work: there it is made at the end.
            if (on_cpu or done == self.num_updates) and not self.state.raw.sum().isfinite():
                self.freeze(self._non_finite())
            yield done
        if done < self.num_updates:
            yield self.num_updates

    def freeze(self, positions: Sequence[int]) -> None:
        """Take the models at some positions out of training, as they are, into `frozen`."""
        if not positions:
            return
        everyone = self.state
        for position in positions:
            alone = everyone.selected([position], self.architecture)
            self.frozen[everyone.models[position]] = alone
        staying = [i for i in range(len(everyone.models)) if i not in positions]
        self._train_from(everyone.selected(staying, self.architecture))
        self._rows = self._rows[:, staying]

    def _train_from(self, state: EnsembleState) -> None:
        """Make these models the ones that are trained, with buffers for their number."""
        self.state = state
        raw, num, batch_size = state.raw, len(state.models), self.batch_size
        num_pixels, num_classes = self.architecture.sizes[0], self.architecture.sizes[-1]
        step_bytes = num * batch_size * self.architecture.rows(0) * raw.element_size()
        length = min(_CHUNK_STEPS, _CHUNK_BYTES // max(1, step_bytes), self.num_updates)
        length = max(1, length)
        with torch.inference_mode():
            # Buffers for a chunk of minibatches, and the views of them that a step takes.
            shape = (length, num, batch_size)
            self._pixels = torch.empty(
                length * num * batch_size, num_pixels, dtype=torch.uint8, device=raw.device
            )
            self._x = raw.new_zeros(*shape, self.architecture.rows(0))
            self._x[..., num_pixels] = 1
            self._targets = raw.new_zeros(*shape, num_classes)
            self._minibatches = list(
                zip(self._x.unbind(), self._x.mT.unbind(), self._targets.unbind(), strict=True)
            )
            self._one_hot = torch.eye(num_classes, out=raw.new_empty(num_classes, num_classes))
            means = np.array([self.subsets[i].mean for i in state.models])
            self._means = torch.from_numpy(means.reshape(num, 1, num_pixels)).to(raw)
            lrs = raw.new_tensor([self.lrs[i] for i in state.models])
            self._step = make_step(self.method, self.layers(), lrs, self.architecture, batch_size)

    def _draw_rows(self, epoch: int) -> Tensor:
        """(updates, K, batch_size) rows of the training set for one epoch, on the device."""
        rows = np.empty((self.num_updates, len(self.models), self.batch_size), dtype=np.int64)
        for position, model in enumerate(self.models):
            subset = self.subsets[model].rows
            drawn = draw_minibatches(
                len(subset), self.batch_size, self.sampling, self.seeds[model], epoch
            )
            rows[:, position] = subset[drawn]
        return torch.from_numpy(rows).to(self.examples.images.device)

    @torch.inference_mode()
    def _train_chunk(self, rows: Tensor) -> None:
        """Gather the minibatches of a few updates at once, then make the updates."""
        num_steps, *_, num_pixels = *rows.shape, self.examples.images.shape[1]
        flat_rows = rows.flatten()
        # index_select copies whole rows, which plain indexing does element by element.
        pixels, targets = self._pixels[: len(flat_rows)], self._targets[:num_steps]
        torch.index_select(self.examples.images, 0, flat_rows, out=pixels)
        centred = self._x[:num_steps, ..., :num_pixels]
        centred.copy_(pixels.view_as(centred)).sub_(self._means)
        labels = self.examples.labels.index_select(0, flat_rows)
        torch.index_select(self._one_hot, 0, labels, out=targets.view(len(labels), -1))

        step, raw = self._step, self.state.raw
        averages = list(self.state.averages.items())
        for minibatch in self._minibatches[:num_steps]:
            step(*minibatch)
            for gamma, average in averages:
                average.lerp_(raw, gamma)

    def _non_finite(self) -> list[int]:
        """Positions of the models with a weight that is NaN or infinite."""
        finite = torch.stack([layer.flatten(1).isfinite().all(1) for layer in self.layers()])
        return [position for position, fine in enumerate(finite.all(0).tolist()) if not fine]
