"""The networks of a finished training run, for use in plain PyTorch."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from midterm_cli.errors import UserError
from midterm_cli.files import run_folder
from midterm_cli.layers import user
from midterm_cli.part3.checkpoint import Checkpoint, read
from midterm_cli.part3.problem import make_network
from midterm_cli.part3.train import schema as train
from midterm_cli.runner import document
from midterm_cli.text import printable


class Scaled(nn.Module):
    """A trained network with what its inputs need: pixels 0…255, in any dtype, go in.

    Attributes:
        network: the plain network, for inputs (n, channels, height, width) or, for an MLP,
            (n, pixels), centred and scaled.
        mean: (pixels,) buffer, which is subtracted.
        factor: () buffer, by which the difference is multiplied.
    """

    mean: Tensor
    factor: Tensor

    def __init__(
        self, network: nn.Module, mean: Tensor, factor: Tensor, shape: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.network = network
        self._shape = shape
        self.register_buffer("mean", mean)
        self.register_buffer("factor", factor)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, classes) of images (n, …)."""
        x = (images.flatten(1).to(self.mean.dtype) - self.mean) * self.factor
        logits: Tensor = self.network(x.view(-1, *self._shape))
        return logits


def load_network(
    run: str | Path, seed: int | None = None, gamma: float | None = None, network: str | None = None
) -> Scaled:
    """A network of a finished run of `midterm train`, in evaluation, on the CPU.

    Args:
        run: its folder, or its metrics.json.
        seed: which; None for the first.
        gamma: of the average of the weights; None for the raw ones.
        network: FILE.py:NAME, if the run trained a network of your own: the file is executed. It
            must be as it was; the run folder keeps a copy, network.py.

    Raises:
        UserError: there is no such run, seed or average, or the code is needed, or is not that of
            the run.
    """
    folder = run_folder(Path(run))
    config, checkpoint = _read(folder)
    source = _source(config, folder, network)
    dtype = torch.float64 if config.dtype == "float64" else torch.float32
    made = make_network(
        config, source, checkpoint.in_shape, checkpoint.num_classes, dtype, torch.device("cpu")
    )
    position = checkpoint.position(int(checkpoint.seeds[0]) if seed is None else seed)
    module = made.module().to(dtype).eval()
    module.load_state_dict({n: t[position] for n, t in checkpoint.state(gamma).items()})
    mean, factor = checkpoint.mean[position].to(dtype), checkpoint.factor[position].to(dtype)
    shape = (made.num_pixels,) if config.network == "mlp" else checkpoint.in_shape
    return Scaled(module, mean, factor, shape).eval()


def state_dict(
    run: Path, seed: int | None = None, weights: str = "raw", gamma: float | None = None
) -> dict[str, Tensor]:
    """What `load_state_dict` of the plain network takes; no code of the run is executed.

    Args:
        run: its folder, or its metrics.json.
        seed: which; None for the first.
        weights: raw, or ema for an average.
        gamma: of the average; None where there is a single one.

    Raises:
        UserError: there is no such run, seed or average.
    """
    _, checkpoint = _read(run_folder(run))
    if weights not in ("raw", "ema"):
        raise UserError(f"--weights must be raw or ema, got {printable(weights)}")
    if weights == "raw" and gamma is not None:
        raise UserError("--gamma is of an average: give --weights ema")
    if weights == "ema" and gamma is None:
        if len(checkpoint.averages) != 1:
            known = ", ".join(f"{known:g}" for known in checkpoint.averages) or "none"
            raise UserError(f"the run has these averages: {known}\nsay which by --gamma")
        gamma = next(iter(checkpoint.averages))
    position = checkpoint.position(int(checkpoint.seeds[0]) if seed is None else seed)
    return {name: t[position].clone() for name, t in checkpoint.state(gamma).items()}


def _read(run: Path) -> tuple[train.Config, Checkpoint]:
    found = document.read(run)
    if not isinstance(found.config, train.Config):
        raise UserError(
            f"{found.name} is a run of {found.experiment.name}, which keeps no weights: "
            "give a run of midterm train, or --format for its results"
        )
    document.require_checkpoint(found)
    return found.config, read(run / "checkpoint.pt")


def _source(config: train.Config, run: Path, network: str | None) -> user.Source | None:
    if config.source_file is None:
        if network is not None:
            raise UserError("network is for a run that trained a network of your own: leave it out")
        return None
    kept = run / "network.py"
    name = str(config.network).rpartition(":")[2]
    if network is None:
        raise UserError(
            f"{printable(run)} trained {printable(str(config.network))}, whose code would run here"
            f"\nif you trust it, give network='{printable(kept)}:{printable(name)}'"
        )
    source = user.read(network)
    if source.name != name:
        raise UserError(f"{printable(run)} trained {printable(name)}, not {printable(source.name)}")
    if source.text != user.read(f"{kept}:{name}").text:
        raise UserError(
            f"{printable(network)} is not the code that {printable(run)} trained, which is kept in "
            f"{printable(kept)}"
        )
    return source
