"""Where a run's numbers come from: program, command, device, time."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import midterm_cli
from midterm_cli.data import datasets
from midterm_cli.errors import UserError
from midterm_cli.experiment import ExperimentConfig
from midterm_cli.source import git_commit

if TYPE_CHECKING:
    import torch


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def as_recorded(config: ExperimentConfig) -> ExperimentConfig:
    """The config as it is recorded: the files that it names by paths that hold in any folder."""
    update = config.absolute
    if dataset := dataset_of(config):
        update["dataset"] = datasets.absolute(dataset)
    return config.model_copy(update=update)


def dataset_of(config: ExperimentConfig) -> str | None:
    """The dataset of an experiment that reads one."""
    dataset: str | None = getattr(config, "dataset", None)
    return dataset


def provenance(config: ExperimentConfig, device: torch.device, command: str) -> dict[str, Any]:
    """What is known about a run before it starts.

    `dtype` is the config's, or PyTorch's default for an experiment without such a key.
    """
    import torch

    return {
        "version": midterm_cli.__version__,
        # A file name need not be Unicode; strict JSON must be.
        "command": command.encode("utf-8", "replace").decode(),
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": device_name(device),
        "dtype": getattr(config, "dtype", str(torch.get_default_dtype()).removeprefix("torch.")),
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "data_sha256": None,
    }


def device_name(device: torch.device) -> str:
    """`cpu`, or the index and the name of the card."""
    import torch

    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)


def resolve_device(name: str) -> torch.device:
    """Turn auto, cpu, cuda or cuda:N into a device that is there; auto takes CUDA if it can.

    Raises:
        UserError: CUDA was asked for by name and is not there: it never quietly becomes the CPU.
    """
    import torch

    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UserError(
            f"{name} was asked for, but this PyTorch sees no CUDA device: use --device cpu"
        )
    index = int(name.partition(":")[2] or 0)
    count = torch.cuda.device_count()
    if index >= count:
        raise UserError(
            f"{name} was asked for, but this machine has cuda:0 to cuda:{count - 1}: "
            "use one of these, or --device cpu"
        )
    return torch.device("cuda", index)


def matches(asked: str, stored: str) -> bool:
    """Whether a run on the device `stored` is one on the device that was asked for."""
    return asked == "auto" or asked == stored or (asked == "cuda" and stored == "cuda:0")
