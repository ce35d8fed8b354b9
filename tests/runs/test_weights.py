"""The weights of a run in plain PyTorch: evaluated by hand they give the run's own numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from answer import Answer
from torch import nn

import midterm_cli
from midterm_cli.data import datasets
from midterm_cli.errors import UserError
from midterm_cli.part3.train.schema import Results
from midterm_cli.runner import document

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 9, stride=4)
        self.head = nn.Linear(50, num_classes)

    def forward(self, x):
        return self.head(torch.relu(self.conv(x)).flatten(1))
"""
TRAIN = ("train", "--dataset", "synthetic", "--set", "train_fraction=0.02", "--set", "epochs=1")


def by_hand(network: nn.Module) -> tuple[float, float]:
    """Test loss and accuracy of a network that takes pixels."""
    test = datasets.load("synthetic", Path()).test
    labels = torch.from_numpy(test.labels)
    with torch.no_grad():
        logits = network(torch.from_numpy(test.images))
    loss = nn.functional.cross_entropy(logits, labels).item()
    return loss, (logits.argmax(1) == labels).double().mean().item()


@pytest.mark.parametrize(
    "options",
    [
        ("--seeds", "2", "--hidden-sizes", "8"),
        ("--seeds", "2", "--normalize", "standard", "--set", "dtype=float64", "--activation=gelu"),
        ("--seeds", "1", "--normalize", "unit", "--network", "net.py:Net"),
    ],
)
def test_a_loaded_network_has_the_numbers_of_the_run(
    options: tuple[str, ...], folder: Path, midterm: Callable[..., Answer]
) -> None:
    Path("net.py").write_text(NET)
    assert midterm(*TRAIN, *options, "--lr=1e-2", "--output=run").code == 0
    results = document.read(Path("run")).results
    assert isinstance(results, Results)
    code: dict[str, Any] = {"network": "run/network.py:Net"} if "net.py:Net" in options else {}
    for row in results.history:
        if row.epoch == 1:
            network = midterm_cli.load_network("run", row.seed, row.gamma, **code)
            loss, accuracy = by_hand(network)
            assert loss == pytest.approx(row.test_loss, rel=1e-5)
            assert accuracy == pytest.approx(row.test_accuracy, abs=1e-4)


def test_an_exported_state_is_what_the_plain_network_takes(
    folder: Path, midterm: Callable[..., Answer]
) -> None:
    Path("net.py").write_text(NET)
    midterm(*TRAIN, "--seeds=2", "--hidden-sizes=8,4", "--output=mlp")
    midterm(*TRAIN, "--seeds=2", "--network=net.py:Net", "--output=net")
    answer = midterm("export", "mlp/metrics.json", "--seed", "1", "--weights", "ema")
    assert answer.out == "mlp-seed1-ema.pt\n"
    plain = nn.Sequential(
        nn.Linear(784, 8), nn.ReLU(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 10)
    )
    plain.load_state_dict(torch.load("mlp-seed1-ema.pt", weights_only=True))
    loaded = midterm_cli.load_network("mlp/metrics.json", 1, 1e-3).network
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name])
    namespace: dict[str, Any] = {}
    exec(NET, namespace)
    assert midterm("export", "net", "--output", "there/raw.pt").out == "there/raw.pt\n"
    namespace["Net"](10).load_state_dict(torch.load("there/raw.pt", weights_only=True))


def test_code_is_run_only_if_it_is_named_and_the_same(
    folder: Path, midterm: Callable[..., Answer]
) -> None:
    Path("net.py").write_text(NET)
    midterm(*TRAIN, "--seeds=1", "--network=net.py:Net", "--output=net")
    Path("net/network.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(UserError, match="code would run here"):
        midterm_cli.load_network("net")
    with pytest.raises(UserError, match="is not the code"):
        midterm_cli.load_network("net", network="net.py:Net")


def test_another_class_of_the_file_is_refused(folder: Path, midterm: Callable[..., Answer]) -> None:
    Path("net.py").write_text(NET + "\n\nclass Other(Net):\n    pass\n")
    midterm(*TRAIN, "--seeds=1", "--network=net.py:Net", "--output=net")
    with pytest.raises(UserError, match="trained Net, not Other"):
        midterm_cli.load_network("net", network="net.py:Other")


def test_a_checkpoint_that_the_run_did_not_write_is_used_by_nothing(
    folder: Path, midterm: Callable[..., Answer]
) -> None:
    small = ("--seeds=1", "--hidden-sizes=4")
    midterm(*TRAIN, *small, "--output=runs/one")
    path = Path("runs/one/checkpoint.pt")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x41
    path.write_bytes(content)
    on = (*TRAIN, *small, "--epochs=2")
    for command in (
        (*on, "--output=runs/two", "--resume"),
        (*on, "--output=runs/two", "--init-from=runs/one"),
        ("export", "runs/one"),
    ):
        answer = midterm(*command)
        assert answer.code == 2
        assert "not the one that the run wrote" in answer.err
    with pytest.raises(UserError, match="not the one that the run wrote"):
        midterm_cli.load_network("runs/one")
    assert not Path("runs/two").exists()


def test_weights_of_inputs_of_another_scale_are_told(
    folder: Path, midterm: Callable[..., Answer]
) -> None:
    small = ("--seeds=1", "--hidden-sizes=4")
    midterm(*TRAIN, *small, "--normalize=unit", "--output=one")
    answer = midterm(*TRAIN, *small, "--init-from=one", "--output=two")
    assert "give the same normalize" in answer.err
    answer = midterm(*TRAIN, *small, "--init-from=one", "--output=one", "--force")
    assert answer.code == 2
    assert "what the run would read from" in answer.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--seed", "7"), "no seed 7: it has 0 to 1"),
        (("--weights", "swa"), "raw or ema"),
        (("--gamma", "0.5", "--weights", "ema"), "γ = 0.5: it has 0.001, 0.1"),
        (("--weights", "ema"), "say which by --gamma"),
        (("--gamma", "0.1"), "give --weights ema"),
    ],
)
def test_what_the_run_does_not_have_is_named(
    arguments: tuple[str, ...], words: str, folder: Path, midterm: Callable[..., Answer]
) -> None:
    options = ("--seeds=2", "--hidden-sizes=4", "--ema-gamma=0.001", "--ema-gamma=0.1")
    midterm(*TRAIN, *options, "--output=run")
    answer = midterm("export", "run", *arguments)
    assert answer.code == 2
    assert words in answer.err
    assert not list(folder.glob("*.pt"))
