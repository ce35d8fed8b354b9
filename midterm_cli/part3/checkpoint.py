"""The weights of a training run in a file, for use and for further training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import Tensor

from midterm_cli.errors import UserError
from midterm_cli.part3.network import Network, split
from midterm_cli.text import printable

State = Mapping[str, Tensor]
"""Tensors named and laid out as the network's state_dict has them, (seeds, …)."""


@dataclass(frozen=True)
class Checkpoint:
    """All that is needed to use the models and to train them further, stacked over seeds.

    Attributes:
        seeds: (seeds,) int64, rising.
        mean: (seeds, pixels), to be subtracted from every input.
        factor: (seeds,), by which it is then to be multiplied.
        in_shape: channels, height and width of an image.
        num_classes: of the output.
        raw: the weights.
        averages: of the weights, by γ.
        optimizer: its buffers, by name.
    """

    __pydantic_config__: ClassVar[ConfigDict] = {"arbitrary_types_allowed": True}

    seeds: Tensor
    mean: Tensor
    factor: Tensor
    in_shape: tuple[int, int, int]
    num_classes: int
    raw: State
    averages: Mapping[float, State]
    optimizer: Mapping[str, State]

    def plain(self) -> dict[str, Any]:
        """For torch.save: dictionaries, tensors and numbers."""
        return dict(vars(self))

    def state(self, gamma: float | None) -> State:
        """The raw weights for None, or an average.

        Raises:
            UserError: there is none with this γ.
        """
        if gamma is None:
            return self.raw
        if gamma not in self.averages:
            known = ", ".join(f"{known:g}" for known in self.averages) or "none"
            raise UserError(f"the run has no average with γ = {gamma:g}: it has {known}")
        return self.averages[gamma]

    def position(self, seed: int) -> int:
        """Where a seed's tensors stand.

        Raises:
            UserError: the run has no such seed.
        """
        seeds: list[int] = self.seeds.tolist()
        if seed not in seeds:
            raise UserError(f"the run has no seed {seed}: it has {seeds[0]} to {seeds[-1]}")
        return seeds.index(seed)

    def flat(self, state: State, network: Network, seeds: Sequence[int]) -> Tensor:
        """A state of some seeds as a flat tensor, laid out for `network.split`.

        Raises:
            UserError: it is of another network, or a seed is missing.
        """
        positions = [self.position(seed) for seed in seeds]
        numbers = sum(map(math.prod, network.shapes))
        wanted = network.to_state(split(torch.zeros(numbers), network, 1))
        for name, tensor in wanted.items():
            found = tuple(state[name].shape[1:]) if name in state else "none"
            if found != tuple(tensor.shape[1:]):
                raise UserError(
                    f"the weights are those of another network: {name} has shape "
                    f"{tuple(tensor.shape[1:])} here, and {found} there"
                )
        return torch.cat([block[positions].flatten() for block in network.from_state(state)])


def stacked(network: Network, flats: Sequence[tuple[int, Tensor]], order: Sequence[int]) -> State:
    """A state of flat tensors, each of so many models, put in order."""
    states = [network.to_state(split(flat, network, num)) for num, flat in flats]
    return {
        name: torch.cat([state[name].cpu() for state in states])[list(order)] for name in states[0]
    }


_CHECKPOINT = TypeAdapter(Checkpoint)


def read(path: Path) -> Checkpoint:
    """Read a checkpoint.pt, executing nothing of it.

    Raises:
        UserError: it is not there, damaged, or of another version.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"cannot read {printable(path)}: {error.strerror}") from None
    except (RuntimeError, UnpicklingError, EOFError, ValueError) as error:
        raise UserError(
            f"{printable(path)} is no checkpoint, or damaged ({type(error).__name__})"
        ) from error
    try:
        checkpoint = _CHECKPOINT.validate_python(content)
        _require_whole(checkpoint)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "it"
        reason = f"{key}: {first['msg']}"
    except ValueError as error:
        reason = str(error)
    else:
        return checkpoint
    raise UserError(f"{printable(path)} is no checkpoint of this version of midterm: {reason}")


def _require_whole(checkpoint: Checkpoint) -> None:
    """Require tensors of as many models as there are seeds.

    Raises:
        ValueError: they are not.
    """
    seeds = checkpoint.seeds
    if seeds.dtype != torch.int64 or seeds.ndim != 1 or len(seeds) == 0:
        raise ValueError("seeds: no list of integers")
    states = (checkpoint.raw, *checkpoint.averages.values(), *checkpoint.optimizer.values())
    tensors = [tensor for state in states for tensor in state.values()]
    for tensor in (checkpoint.mean, checkpoint.factor, *tensors):
        if tensor.shape[:1] != seeds.shape or not tensor.is_floating_point():
            raise ValueError(f"not the numbers of {len(seeds)} models")
