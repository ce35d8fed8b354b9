"""`midterm` with the fake experiment, in a process of its own: it stops after a pass and waits.

    python fake_main.py CONFIGS PASS ARGUMENTS…

A file named `paused` appears once PASS is saved.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import fake_experiment

from midterm_cli import cli
from midterm_cli.config import resolve as config
from midterm_cli import registry as experiments

configs, last = Path(sys.argv[1]), int(sys.argv[2])


def pause(epoch: int) -> None:
    if epoch == last:
        Path("paused").touch()
        time.sleep(600)


fake_experiment.on_epoch = pause
experiments.EXPERIMENTS["train"] = "fake_experiment"
vars(config)["configs_dir"] = lambda: configs
sys.exit(cli.main(sys.argv[3:]))
