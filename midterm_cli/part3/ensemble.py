"""Training with averaged weights for an ensemble: K models, one step moves them all.

Each model has its own learning rate and seed; the seed decides its training subset, its initial
weights and its minibatches, whichever models share the ensemble. With plain SGD every model follows

    w_{t+1} = w_t - lr · ∇loss(w_t)              w̄_{t+1} = (1 - γ) w̄_t + γ w_{t+1},   w̄_0 = w_0

and with another optimiser its rule (optimizer.py) in place of the first recursion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from midterm_cli.part3 import host
from midterm_cli.part3.evaluate import Examples
from midterm_cli.part3.graphs import Graphs
from midterm_cli.part3.module_network import ModuleNetwork
from midterm_cli.part3.network import MLP, Network, split, stack
from midterm_cli.part3.optimizer import Coefficients, Rule, make_step
from midterm_cli.part3.sampling import Subset, draw_minibatches, num_updates
from midterm_cli.part3.schema import GradientMethod, Sampling

# Minibatches are gathered for several steps at once, which costs a fraction of one by one; longer
# chunks than these gain nothing and drive the weights out of the cache. A GPU has no such cache.
_CHUNK_STEPS, _CHUNK_BYTES, _CHUNK_BYTES_ON_CUDA = 32, 4 * 2**20, 256 * 2**20

CHECKS_PER_EPOCH = 8
"""How often in an epoch the weights are checked for NaN and infinity."""

Watch = Callable[[int, Tensor, Tensor], None]
"""watch(update, x, targets): called before an update, counted from 0 over the run, with its
minibatches: x (K, batch_size, pixels), centred and scaled, and targets (K, batch_size, classes)."""


@dataclass(frozen=True)
class EnsembleState:
    """Weights of some of the models of an ensemble.

    Attributes:
        models: their indices in the ensemble.
        raw: their weights, laid out for `split`.
        averages: of the weights, by γ, laid out alike.
        optimizer: buffers of the optimiser, by name, laid out alike.
    """

    models: tuple[int, ...]
    raw: Tensor
    averages: Mapping[float, Tensor]
    optimizer: Mapping[str, Tensor] = field(default_factory=dict)

    def by_gamma(self) -> dict[float | None, Tensor]:
        """All kinds of weights: raw under None, the averages under their γ."""
        return dict([(None, self.raw), *self.averages.items()])

    @torch.no_grad()
    def copied(self, device: torch.device | None = None) -> EnsembleState:
        """A copy, on the same device or on another."""
        device = device or self.raw.device
        return self._mapped(self.models, lambda flat: flat.to(device, copy=True))

    @torch.no_grad()
    def selected(self, positions: Sequence[int], network: Network) -> EnsembleState:
        """A copy of the models at some positions of `models`."""

        def select(flat: Tensor) -> Tensor:
            chosen = _indices(positions, flat.device)
            blocks = split(flat, network, len(self.models))
            return torch.cat([block.index_select(0, chosen).flatten() for block in blocks])

        return self._mapped(tuple(self.models[i] for i in positions), select)

    def _mapped(
        self, models: tuple[int, ...], function: Callable[[Tensor], Tensor]
    ) -> EnsembleState:
        averages = {gamma: function(flat) for gamma, flat in self.averages.items()}
        optimizer = {name: function(flat) for name, flat in self.optimizer.items()}
        return EnsembleState(models, function(self.raw), averages, optimizer)


class Ensemble:
    """K models in training: weights, averages, and the loop that moves them.

    Args:
        network: the same for all.
        seeds: (K) one for each model.
        lrs: (K) learning rates, or the peaks of a schedule.
        gammas: weights of the new value in each average that is followed.
        examples: the whole training set, held once for all models; its device is theirs.
        subsets: for each model, what it sees of the training set.
        batch_size: rows of a minibatch.
        sampling: how minibatches are drawn.
        method: which gradient.
        dtype: of weights and arithmetic.
        rule: of the optimiser.
        factors: by what the learning rates are multiplied at updates counted from 0; None for 1.
        start: flat initial weights; None for those of the seeds.

    Attributes:
        state: of the models in training.
        frozen: states of the models that were taken out of training, by index.
        num_updates: in one epoch.
        check_every: updates from one check of the weights to the next.
        capture: whether steps may be captured in CUDA graphs, from the next epoch on.
    """

    capture = True

    def __init__(
        self,
        network: Network,
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
        rule: Rule | None = None,
        factors: Callable[[np.ndarray], np.ndarray] | None = None,
        start: Tensor | None = None,
    ) -> None:
        self.network, self.examples = network, examples
        self.seeds, self.lrs, self.subsets = tuple(seeds), tuple(lrs), tuple(subsets)
        self.batch_size, self.sampling, self.method = batch_size, sampling, method
        self.rule, self._factors = rule or Rule(), factors
        self.num_updates = num_updates(len(subsets[0].rows), batch_size)
        self.check_every = -(-self.num_updates // CHECKS_PER_EPOCH)
        self.frozen: dict[int, EnsembleState] = {}
        self._streams: dict[int, Tensor] = {}
        with self._no_grad():
            device = examples.images.device
            raw = stack(network, seeds, dtype, device) if start is None else start.clone()
            averages = {gamma: raw.clone() for gamma in gammas}
            optimizer = {name: torch.zeros_like(raw) for name in self.rule.buffers}
        self._train_from(EnsembleState(tuple(range(len(seeds))), raw, averages, optimizer))

    @property
    def models(self) -> tuple[int, ...]:
        """Indices of the models in training."""
        return self.state.models

    def parameters(self) -> list[Tensor]:
        """Raw weights of the models in training: (K, *shape) a parameter, not copied."""
        return split(self.state.raw, self.network, len(self.models))

    def rates(self, update: int) -> np.ndarray:
        """(K,) learning rates of the models in training at an update, counted from 0."""
        rates: np.ndarray = self._rates(update, 1)[0]
        return rates

    def restore(self, state: EnsembleState, frozen: Mapping[int, EnsembleState]) -> None:
        """Continue from a state of this ensemble, or of another with the same models."""
        device = self.examples.images.device
        with self._no_grad():
            self.frozen = {model: of_model.copied(device) for model, of_model in frozen.items()}
            state = state.copied(device)
        self._train_from(state)

    def train(self, epoch: int, watch: Watch | None = None, watch_every: int = 1) -> Iterator[int]:
        """One epoch; yields the number of updates done, every so often, and at its end.

        It stops at every multiple of `check_every`, whatever the size of the ensemble.

        Args:
            epoch: 1 for the first; with the seeds it decides the minibatches.
            watch: called before the updates whose number is a multiple of `watch_every`.
            watch_every: updates from one call to the next.
        """
        done, before = 0, (epoch - 1) * self.num_updates
        self._rows = self._draw_rows(epoch)
        if isinstance(self.network, ModuleNetwork) and self.network.draws:
            for model in self.models:
                self._streams[model] = self.network.stream(self.seeds[model], epoch)
        on_cpu = self._rows.device.type == "cpu"
        while self.models and done < self.num_updates:
            next_check = (done // self.check_every + 1) * self.check_every
            chunk = self._rows[done : min(done + len(self._minibatches), next_check)]
            self._gather(chunk, before + done)
            if watch is None:
                self._make_steps(len(chunk))
            else:
                self._make_watched_steps(len(chunk), before + done, watch, watch_every)
            done += len(chunk)
            # On a GPU the check would wait for all queued work: there it is made at the end.
            is_time = on_cpu or done == self.num_updates
            if is_time and not host.read(self.state.raw.sum().isfinite()):
                self.freeze(self._non_finite())
            yield done
        if done < self.num_updates:
            yield self.num_updates

    def freeze(self, positions: Sequence[int]) -> None:
        """Take the models at some positions out of training, as they are, into `frozen`."""
        if not positions:
            return
        everyone = self.state
        with self._no_grad():
            for position in positions:
                alone = everyone.selected([position], self.network)
                self.frozen[everyone.models[position]] = alone
            staying = [i for i in range(len(everyone.models)) if i not in positions]
            remaining = everyone.selected(staying, self.network)
        self._train_from(remaining)
        self._rows = self._rows.index_select(1, _indices(staying, self._rows.device))

    def _no_grad(self) -> AbstractContextManager[object]:
        """Inference mode is faster, but what is made in it autograd cannot follow."""
        return torch.inference_mode() if isinstance(self.network, MLP) else torch.no_grad()

    def _train_from(self, state: EnsembleState) -> None:
        """Make these models the ones that are trained, with buffers for their number."""
        self.state = state
        network, raw, num, batch_size = self.network, state.raw, len(state.models), self.batch_size
        num_pixels, num_classes = network.num_pixels, network.num_classes
        step_bytes = num * batch_size * network.width * raw.element_size()
        room = _CHUNK_BYTES_ON_CUDA if raw.device.type == "cuda" else _CHUNK_BYTES
        length = max(1, min(_CHUNK_STEPS, room // max(1, step_bytes), self.num_updates))
        self._graphs = Graphs(self._steps) if self._can_capture else None
        with self._no_grad():
            # Buffers for a chunk of minibatches, and the views of them that a step takes.
            shape = (length, num, batch_size)
            self._pixels = torch.empty(
                length * num * batch_size, num_pixels, dtype=torch.uint8, device=raw.device
            )
            self._x = raw.new_zeros(*shape, network.width)
            if network.width > num_pixels:
                self._x[..., num_pixels] = 1
            self._targets = raw.new_zeros(*shape, num_classes)
            self._one_hot = torch.eye(num_classes, out=raw.new_empty(num_classes, num_classes))
            subsets = [self.subsets[i] for i in state.models]
            means = np.array([subset.mean for subset in subsets])
            self._means = torch.from_numpy(means.reshape(num, 1, num_pixels)).to(raw)
            factors = {subset.factor for subset in subsets}
            self._scales = None
            if factors != {1.0}:
                scales = [subset.factor for subset in subsets]
                self._scales = raw.new_tensor(scales).view(num, 1, 1)
            self._step, self._divisor = make_step(
                network,
                self.method,
                self.rule,
                raw,
                state.optimizer,
                batch_size,
                state.models,
                [self.lrs[model] for model in state.models],
                self._streams,
            )
            num_coefficients = len(self.rule.coefficients(self._rates(0, 1), 1))
            self._coefficients = raw.new_empty(num_coefficients, length, num)
            self._minibatches = list(
                zip(
                    self._x.unbind(),
                    self._x.mT.unbind(),
                    self._targets.unbind(),
                    self._views_of_coefficients(),
                    strict=True,
                )
            )
            self._write_coefficients(0, length)

    def _views_of_coefficients(self) -> list[Coefficients]:
        """For each step of a chunk."""
        num_axes = [len(shape) for shape in self.network.shapes]
        views: list[Coefficients] = []
        for of_step in self._coefficients.unbind(1):
            by_axes = {n: of_step.view(*of_step.shape, *[1] * n) for n in set(num_axes)}
            views.append([[by_axes[n][c] for n in num_axes] for c in range(len(of_step))])
        return views

    def _rates(self, first: int, num: int) -> np.ndarray:
        """(updates, K) learning rates of the models in training."""
        lrs = np.array([self.lrs[model] for model in self.models])
        if self._factors is None:
            return np.tile(lrs, (num, 1))
        return np.outer(self._factors(np.arange(first, first + num)), lrs)

    def _write_coefficients(self, first: int, num: int) -> None:
        found = self.rule.coefficients(self._rates(first, num), first + 1)
        self._coefficients[:, :num].copy_(torch.from_numpy(found))
        self._coefficients[0, :num].div_(self._divisor)

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

    def _gather(self, rows: Tensor, first: int) -> None:
        """Gather the minibatches of a few updates, and their learning rates."""
        num_steps, num_pixels = len(rows), self.network.num_pixels
        flat_rows = rows.flatten()
        with self._no_grad():
            # index_select copies whole rows, which plain indexing does element by element.
            pixels, targets = self._pixels[: len(flat_rows)], self._targets[:num_steps]
            torch.index_select(self.examples.images, 0, flat_rows, out=pixels)
            centred = self._x[:num_steps, ..., :num_pixels]
            centred.copy_(pixels.view_as(centred)).sub_(self._means)
            if self._scales is not None:
                centred.mul_(self._scales)
            labels = self.examples.labels.index_select(0, flat_rows)
            torch.index_select(self._one_hot, 0, labels, out=targets.view(len(labels), -1))
            if self._factors is not None or self.rule.changes_rates:
                self._write_coefficients(first, num_steps)

    @property
    def _can_capture(self) -> bool:
        """Whether the steps may be captured in a CUDA graph: they move all models at once."""
        at_once = self.method == "closed_form"
        if isinstance(self.network, ModuleNetwork):
            at_once = self.network.how == "vmap"
        return at_once and torch.cuda.is_available() and self.state.raw.device.type == "cuda"

    def _make_steps(self, num: int) -> None:
        """Make updates on the minibatches that were gathered; on CUDA as a graph, if it can be."""
        if self._graphs is None or not self.capture:
            self._steps(num)
        else:
            self._graphs.run(num)

    def _steps(self, num: int) -> None:
        step, raw = self._step, self.state.raw
        averages = list(self.state.averages.items())
        with self._no_grad():
            for minibatch in self._minibatches[:num]:
                step(*minibatch)
                for gamma, average in averages:
                    average.lerp_(raw, gamma)

    def _make_watched_steps(self, num: int, first: int, watch: Watch, every: int) -> None:
        num_pixels = self.network.num_pixels
        for i in range(num):
            if (first + i) % every == 0:
                watch(first + i, self._x[i, ..., :num_pixels], self._targets[i])
            minibatch = self._minibatches[i]
            with self._no_grad():
                self._step(*minibatch)
                for gamma, average in self.state.averages.items():
                    average.lerp_(self.state.raw, gamma)

    def _non_finite(self) -> list[int]:
        """Positions of the models with a weight that is NaN or infinite."""
        finite = torch.stack(
            [block.reshape(len(block), -1).isfinite().all(1) for block in self.parameters()]
        )
        return np.flatnonzero(~host.read(finite.all(0))).tolist()


@torch.inference_mode(False)  # in which a pretended device cannot be moved to
def _indices(positions: Sequence[int], device: torch.device) -> Tensor:
    return torch.from_numpy(np.array(positions, dtype=np.int64)).to(device)
