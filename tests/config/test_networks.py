"""The keys of networks and optimisers: where layers come from, and what changes nothing."""

from pathlib import Path

import pytest

from midterm_cli.config.resolve import dump, plain, resolve
from midterm_cli.errors import UserError


def test_layers_come_from_a_packaged_config_or_a_file(tmp_path: Path) -> None:
    layers = plain(resolve("conv_stack").config)["layers"]
    assert plain(resolve("train", None, ["network=conv_stack"]).config)["network"] == layers
    path = tmp_path / "small.yaml"
    path.write_text("layers:\n  - {type: flatten}\n  - {type: linear, out_features: 10}\n")
    found = plain(resolve("lr_sweep", None, [f"network={path}"]).config)["network"]
    assert [layer["type"] for layer in found] == ["flatten", "linear"]


@pytest.mark.parametrize("text", ["ReLU", "relu", "RELU"])
def test_the_case_of_an_activation_does_not_matter(text: str) -> None:
    assert plain(resolve("train", None, [f"activation={text}"]).config)["activation"] == "relu"


@pytest.mark.parametrize(("text", "sizes"), [("64,32", [64, 32]), ("64", [64]), ("[]", [])])
def test_hidden_sizes_as_people_type_them(text: str, sizes: list[int]) -> None:
    config = resolve("train", None, [f"hidden_sizes={text}"]).config
    assert plain(config)["hidden_sizes"] == sizes


@pytest.mark.parametrize(
    ("assignments", "idle"),
    [
        (["optimizer=adam", "momentum=0.9"], "momentum"),
        (["betas=[0.8, 0.9]"], "betas"),
        (["optimizer=adamw", "alpha=0.5"], "alpha"),
        (["optimizer=rmsprop", "nesterov=true", "momentum=0.5"], "nesterov"),
        (["network=conv_stack", "activation=tanh"], "activation"),
        (["network=conv_stack", "gradients=autograd"], "gradients"),
    ],
)
def test_a_key_that_changes_nothing_is_refused(assignments: list[str], idle: str) -> None:
    with pytest.raises(UserError, match=rf"^{idle} \(--set\) changes nothing here"):
        resolve("train", None, assignments)


def test_a_stored_config_with_idle_keys_can_be_given_again(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    first = resolve("train", None, ["optimizer=adam", "network=conv_stack"]).config
    path.write_text(dump(first))
    assert resolve("train", str(path)).config == first
