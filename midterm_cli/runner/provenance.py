"""Where a run's numbers come from: program, command, machine, time."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import midterm_cli
from midterm_cli.experiment import ExperimentConfig
from midterm_cli.runner.paths import checkout

if TYPE_CHECKING:
    import torch


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def provenance(config: ExperimentConfig, device: torch.device, command: str) -> dict[str, Any]:
    """What the runner knows about a run before it starts.

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
        "data_sha256": None,
    }


def device_name(device: torch.device) -> str:
    """`cpu`, or the index and the name of the card."""
    import torch

    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)


def git_commit() -> str | None:
    """The commit of the checkout that the package runs from, `-dirty` when files differ from it.

    None for an installed package, without git, and before the first commit.
    """
    root = checkout()
    if root is None or not (root / ".git").exists():
        return None
    # Inside a git hook GIT_DIR and its like point at some other repository.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(
            describe,
            cwd=root,
            env=environment | {"GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
