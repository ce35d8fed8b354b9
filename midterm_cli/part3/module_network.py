"""Any torch.nn.Module as a network of an ensemble: layers from a config, or a user's own.

On the CPU the models of an ensemble take turns, each a copy of the module whose parameters are
views of the flat tensor: a convolution with a batch of kernels is slower there than one after the
other. On CUDA, where a step is too small to fill the device, torch.func.vmap moves all of them at
once, unless the module draws random numbers or cannot be mapped.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from midterm_cli.part3.module_check import Trying, check

# The random numbers of PyTorch are those of the process, and groups may share one.
_RANDOM = threading.Lock()

# The stream of a seed for what a module draws in training; sampling.py lists the others.
_MODULE_STREAM = 5

Gradient = Callable[[Tensor, Tensor, Tensor], None]
"""gradient(x, x_transposed, targets): writes the gradient of all models where it was told to."""
Streams = MutableMapping[int, Tensor]
"""By model, the state of the generator that its random numbers come from."""


class ModuleNetwork:
    """A torch.nn.Module with its class scores as output: a `Network`.

    Args:
        make: makes a fresh module, its weights drawn by PyTorch.
        name: what messages call it.
        in_shape: (channels, height, width) of an image.
        num_classes: that it must tell apart.
        dtype: of the arithmetic.
        device: of it.
        trying: a context for calling code of the user's, told what is done.

    Attributes:
        how: `loop`, or `vmap` over the models of an ensemble.
        draws: whether it draws random numbers in training, as dropout does.

    Raises:
        UserError: an ensemble cannot hold the module, or its output has another shape.
    """

    def __init__(
        self,
        make: Callable[[], nn.Module],
        name: str,
        in_shape: tuple[int, int, int],
        num_classes: int,
        dtype: torch.dtype,
        device: torch.device,
        trying: Trying | None = None,
    ) -> None:
        self._make, self.name = make, name
        self._trying = trying or _our_own
        self._device, self._dtype = device, dtype
        self.in_shape, self.num_classes = in_shape, num_classes
        probe, twin = self._fresh(0), self._fresh(0)
        with _RANDOM:
            found = check(probe, twin, name, in_shape, num_classes, self._trying)
        self.draws, self.macs, self.num_activations = found
        self._names = [parameter_name for parameter_name, _ in probe.named_parameters()]
        self.shapes = [tuple(parameter.shape) for parameter in probe.parameters()]
        self._module = probe.to(device, dtype).eval()
        self._in_use = threading.Lock()
        can_map = device.type == "cuda" and not self.draws and self._can_be_mapped()
        self.how: Literal["loop", "vmap"] = "vmap" if can_map else "loop"

    @property
    def num_pixels(self) -> int:
        """Of an image, over its channels."""
        return math.prod(self.in_shape)

    @property
    def width(self) -> int:
        """The pixels alone."""
        return self.num_pixels

    @property
    def num_parameters(self) -> int:
        """Of one model."""
        return sum(map(math.prod, self.shapes))

    @property
    def layers(self) -> list[list[int]]:
        """The parameters of each submodule."""
        by_module: dict[str, list[int]] = {}
        for index, name in enumerate(self._names):
            by_module.setdefault(name.rpartition(".")[0], []).append(index)
        return list(by_module.values())

    def initial(self, seed: int) -> list[Tensor]:
        """The parameters of a module made after torch.manual_seed(seed)."""
        return [parameter.detach() for parameter in self._fresh(seed).parameters()]

    def logits(self, parameters: Sequence[Tensor], x: Tensor) -> Tensor:
        """Logits of one model, in evaluation."""
        with self._trying("evaluating it"):
            return self._call(parameters, x)

    def _call(self, parameters: Sequence[Tensor], x: Tensor) -> Tensor:
        named = dict(zip(self._names, parameters, strict=True))
        # While it is called the module holds these parameters, and threads may share it.
        with self._in_use:
            output: Tensor = functional_call(self._module, named, (x.view(-1, *self.in_shape),))
        return output

    def module(self) -> nn.Module:
        """A fresh module, in evaluation."""
        return self._fresh(0).eval()

    def to_state(self, parameters: Sequence[Tensor]) -> dict[str, Tensor]:
        """By the names of the module; its buffers are the same for all models."""
        num = len(parameters[0])
        # A parameter may have several names.
        named = zip(self._module.parameters(), parameters, strict=True)
        found = {id(own): parameter for own, parameter in named}
        return {
            name: found[id(value)] if id(value) in found else value.expand(num, *value.shape)
            for name, value in self._module.state_dict(keep_vars=True).items()
        }

    def from_state(self, state: Mapping[str, Tensor]) -> list[Tensor]:
        """The parameters alone."""
        return [state[name] for name in self._names]

    def make_gradient(
        self,
        weights: Sequence[Tensor],
        into: Sequence[Tensor],
        models: Sequence[int],
        streams: Streams,
    ) -> Gradient:
        """A function that writes the gradient of K models: see `gradients.make_gradient`.

        Args:
            weights: (K, *shape) a parameter.
            into: where the gradient goes, alike.
            models: keys of the K models in `streams`.
            streams: where their random numbers come from, if they draw any.
        """
        if self.how == "vmap":
            return self._mapped(weights, into)
        compute = self._looped(weights, models, streams)
        blocks = _of_each(into, len(models))

        def copy(k: int, found: Sequence[Tensor]) -> None:
            torch._foreach_copy_(blocks[k], list(found))

        return lambda x, x_transposed, targets: compute(x, targets, copy)

    def make_descent(
        self, weights: Sequence[Tensor], models: Sequence[int], streams: Streams
    ) -> Callable[[Tensor, Tensor, Tensor], None]:
        """Plain SGD in a loop: each model moves while its gradient is in the cache.

        Args:
            weights: (K, *shape) a parameter; changed in place.
            models: keys of the K models in `streams`.
            streams: where their random numbers come from, if they draw any.

        Returns:
            descend(x, targets, factors): with (K,) factors, which multiply the gradients.
        """
        compute = self._looped(weights, models, streams)
        each = _of_each(weights, len(models))

        def descend(x: Tensor, targets: Tensor, factors: Tensor) -> None:
            of_models = factors.unbind()

            def move(k: int, found: Sequence[Tensor]) -> None:
                for weight, gradient in zip(each[k], found, strict=True):
                    weight.addcmul_(gradient, of_models[k])

            compute(x, targets, move)

        return descend

    def stream(self, seed: int, epoch: int) -> Tensor:
        """The state of a generator from which a model draws its random numbers of an epoch."""
        words = np.random.SeedSequence([seed, _MODULE_STREAM, epoch]).generate_state(2, np.uint32)
        generator = Generator(self._device).manual_seed(int.from_bytes(words.tobytes(), "little"))
        state: Tensor = generator.get_state()
        return state

    def _looped(
        self, weights: Sequence[Tensor], models: Sequence[int], streams: Streams
    ) -> Callable[[Tensor, Tensor, Callable[[int, Sequence[Tensor]], None]], None]:
        """compute(x, targets, use): calls use(k, gradient) for one model after the other."""
        modules = []
        for of_model in _of_each(weights, len(models)):
            module = self._fresh(0).to(self._device, self._dtype).train()
            for parameter, weight in zip(module.parameters(), of_model, strict=True):
                parameter.data = weight
            modules.append((module, list(module.parameters())))
        nothing = nullcontext()

        def compute(
            x: Tensor, targets: Tensor, use: Callable[[int, Sequence[Tensor]], None]
        ) -> None:
            images = x.view(*x.shape[:2], *self.in_shape).unbind()
            labels = targets.argmax(-1).unbind()  # fewer operations than for one-hot rows
            with torch.enable_grad(), self._trying("training it"):
                for k, (module, parameters) in enumerate(modules):
                    with self._drawing_from(streams, models[k]) if self.draws else nothing:
                        loss = cross_entropy(module(images[k]), labels[k])
                    use(k, torch.autograd.grad(loss, parameters, materialize_grads=True))

        return compute

    def _mapped(self, weights: Sequence[Tensor], into: Sequence[Tensor]) -> Gradient:
        of_all = vmap(grad(self._loss))
        parameters = tuple(weights)

        def gradient(x: Tensor, x_transposed: Tensor, targets: Tensor) -> None:
            with self._trying("training it"):
                torch._foreach_copy_(list(into), list(of_all(parameters, x, targets)))

        return gradient

    def _loss(self, parameters: tuple[Tensor, ...], x: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(self._call(parameters, x), targets)

    def _can_be_mapped(self) -> bool:
        parameters = tuple(p.detach()[None].clone() for p in self._module.parameters())
        x = parameters[0].new_zeros(1, 2, self.num_pixels)
        targets = x.new_full((1, 2, self.num_classes), 1 / self.num_classes)
        try:
            vmap(grad(self._loss))(parameters, x, targets)
        except RuntimeError:  # what vmap says of operations, or of branches on values
            return False
        return True

    def _fresh(self, seed: int) -> nn.Module:
        with _RANDOM, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self._make()

    @contextmanager
    def _drawing_from(self, streams: Streams, model: int) -> Iterator[None]:
        """Draw random numbers from the stream of a model, and from no other's."""
        on_cuda = self._device.type == "cuda"
        devices = [self._device] if on_cuda else []
        with _RANDOM, torch.random.fork_rng(devices=devices):
            generator = (
                torch.cuda.default_generators[self._device.index or 0]
                if on_cuda
                else (torch.default_generator)
            )
            generator.set_state(streams[model])
            yield
            streams[model] = generator.get_state()


def _of_each(blocks: Sequence[Tensor], num_models: int) -> list[list[Tensor]]:
    """Views, model by model."""
    return [[block[k] for block in blocks] for k in range(num_models)]


def _our_own(doing: str) -> AbstractContextManager[None]:
    """What goes wrong in layers of ours is a bug."""
    return nullcontext()
