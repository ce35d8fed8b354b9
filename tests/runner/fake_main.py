"""`midterm` with the fake experiment, in a process of its own: it stops after an epoch and waits.

    python fake_main.py CONFIGS EPOCH ARGUMENTS…

A file named `paused` appears once EPOCH is saved.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from fake_experiment import run

from midterm_cli import cli, registry
from midterm_cli.config import presets

configs, last = Path(sys.argv[1]), int(sys.argv[2])


def pause(epoch: int) -> None:
    if epoch == last:
        Path("paused").touch()
        time.sleep(600)


vars(run)["on_epoch"] = pause
registry.EXPERIMENTS["train"] = registry.Experiment("train", "fake_experiment", "midterm train")
vars(presets)["configs_dir"] = lambda: configs
sys.exit(cli.main(sys.argv[3:]))
