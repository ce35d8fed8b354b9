"""How command lines are parsed: nothing that was typed is dropped."""

import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from answer import Answer

from midterm_cli import cli
from midterm_cli.cli.command import StrictCommand
from midterm_cli.registry import EXPERIMENTS

Midterm = Callable[..., Answer]


def commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command


COMMANDS = dict(commands(typer.main.get_command(cli.app)))
ONE_VALUE = [
    (*words, option.opts[0])
    for words, command in COMMANDS.items()
    for option in command.params
    if option.opts[0].startswith("-") and not option.multiple and not option.is_flag
]


def parsed(*words: str) -> dict[str, Any]:
    """The values of the options of a command line."""
    group, *arguments = words
    values: dict[str, Any] = COMMANDS[group,].make_context(group, arguments).params
    return values


@pytest.mark.parametrize("words", ONE_VALUE, ids=" ".join)
def test_no_option_of_one_value_is_given_twice(
    words: tuple[str, ...], folder: Path, midterm: Midterm
) -> None:
    *command, option = words
    assert isinstance(COMMANDS[tuple(command)], StrictCommand)
    pair = ["1", "2"] if option == "--range" else ["1"]
    answer = midterm(*command, option, *pair, option, *pair)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"Error: {option} is given twice: leave one of them out\n")
    assert len(answer.err.splitlines()) <= 2


def test_there_are_options_of_one_value_in_every_part() -> None:
    assert len(ONE_VALUE) > 150
    assert {words[:-1] for words in ONE_VALUE} >= {
        tuple(row.command.split()[1:]) for row in EXPERIMENTS.values()
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("train --lr 1e-3 --lr 2e-3", "midterm grid train lr=1e-3,2e-3"),
        ("train --lr=1e-3 --seed 4 --lr 2e-3 --lr=5e-3", "midterm grid train lr=1e-3,2e-3,5e-3"),
        ("train --nesterov --no-nesterov", "--nesterov is given twice"),
        ("train --output a -o b", "--output is given twice"),
        ("module grad --x [1,2] --x [3,4]", "--x is given twice: leave one of them out\n"),
        ("conv shape --size 28 20", "--size takes one value, got 28 and 20: write --size 28x20"),
        ("conv shape --size 28 x 20", "got 28 and x: write --size 28x20"),
        (
            "autodiff --range 0 1 2",
            "--range takes two numbers, got 0 and 1 and 2: write --range LOW",
        ),
        ("conv shape --size 20, 30", "got 20, and 30: write --size 20x30\n"),
        ("conv shape --size [20, 30]", "got [20, and 30]: write --size 20x30\n"),
        ("conv shape --size 28 abc", "got 28 and abc: leave one of them out\n"),
        ("conv shape --size 28 20 7", "got 28 and 20: leave one of them out\n"),
        ("module grad --x [1, 2]", "got [1, and 2]: write --x 1,2\n"),
        ("module grad --x 1, 2 , 3", "got 1, and 2: write --x 1,2,3\n"),
        ("module grad --matrix [[2, 1], [1, 3]]", "got [[2, and 1],: write --matrix '2,1;1,3'\n"),
        ("autodiff --range 0 1 2 --x 2", "takes two numbers, got 0 and 1 and 2: write --range LOW"),
        ("autodiff --range 0:1 --expression x", "--range takes two numbers, got 0:1: write"),
        ("autodiff --range 0 --x 2", "--range takes two numbers, got 0: write --range LOW HIGH"),
        ("module grad --x 1 2", "got 1 and 2: write --x 1,2"),
        ("autodiff --x 0.5 1.5", "got 0.5 and 1.5: write --x 0.5 --x 1.5"),
        ("train --lr 1 2", "--lr takes one value, got 1 and 2: leave one of them out"),
        ("train --lr 1e-3 extra words", "got 1e-3 and extra"),
        ("train extra", "Got unexpected extra argument(s) (extra)"),
        ("softt nothing", "No such command 'nothing'"),
        ("softt --lr 2", "No such option: --lr"),
    ],
)
def test_what_would_be_dropped_is_told(
    arguments: str, told: str, folder: Path, midterm: Midterm
) -> None:
    answer = midterm(*arguments.split())
    assert (answer.code, answer.out) == (2, "")
    assert told in answer.err


def test_what_may_be_repeated(midterm: Midterm) -> None:
    assert list(parsed("autodiff", "--x", "1", "--x", "pi/2")["x"]) == [1, "pi/2"]
    assert parsed("train", "--force", "--force")["force"] is True
    assert midterm("train", "--lr", "1", "--lr", "2", "--help").code == 0


@pytest.mark.parametrize(
    "arguments", [["--range", "-1", "2"], ["--range", "-1,2"], ["--range=-1,2"]]
)
def test_a_range_may_have_a_comma(arguments: list[str]) -> None:
    values = parsed("autodiff", "--x", "0.5", *arguments, "--dtype", "float32")
    assert (*values["range"], values["dtype"], *values["x"]) == (-1, 2, "float32", 0.5)


def test_ranges_of_names_are_for_the_config() -> None:
    assert tuple(parsed("autodiff", "--range", "-pi,pi")["range"]) == ("-pi", "pi")


@pytest.mark.usefixtures("unrendered")
@pytest.mark.parametrize(
    ("arguments", "experiment"), [("softt --threshold 2", "softt"), ("module", "module")]
)
def test_a_group_of_one_command_runs_it(
    arguments: str, experiment: str, folder: Path, midterm: Midterm
) -> None:
    answer = midterm(*arguments.split(), *([] if experiment == "module" else ["--json"]))
    assert answer.code == 0
    [run] = folder.glob(f"outputs/{experiment}/*")
    config = json.loads((run / "metrics.json").read_text())["config"]
    assert config["threshold"] == (2 if experiment == "softt" else 2.81)


@pytest.mark.parametrize("group", ["softt", "module"])
def test_help_of_a_group_names_its_command(group: str, midterm: Midterm) -> None:
    answers = [midterm(group, option) for option in ("--help", "-h")]
    assert [answer.code for answer in answers] == [0, 0]
    assert answers[0].out == answers[1].out
    assert f"Usage: midterm {group} " in answers[0].out
    assert "Commands:" in answers[0].out


def test_configs_are_merged_in_order(folder: Path, midterm: Midterm) -> None:
    Path("a.yaml").write_text("epochs: 3\nlr: 5e-3\n")
    Path("b.yaml").write_text("lr: 7e-3\n")
    for first, second in itertools.permutations(["a.yaml", "b.yaml"]):
        answer = midterm("config", "show", "train", "--config", first, "--config", second)
        rate = {"a.yaml": "0.005", "b.yaml": "0.007"}[second]
        assert re.search(r"^epochs: 3 +# a.yaml", answer.out, re.MULTILINE)
        assert re.search(rf"^lr: {rate} +# {second}", answer.out, re.MULTILINE)


@pytest.mark.usefixtures("unrendered")
def test_the_home_is_known_everywhere(
    folder: Path, tmp_path: Path, midterm: Midterm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a shell replaces `~`, and where it does not: behind = and in a config."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "m.csv").write_text("2,1\n1,3\n")
    (tmp_path / "module.yaml").write_text("matrix: ~/m.csv\ndimension: 2\n")
    for given in (
        ["--config=~/module.yaml"],
        ["--config", "~/module.yaml"],
        ["--matrix=~/m.csv"],
        ["--set", "matrix=~/m.csv", "--set", "dimension=null"],
    ):
        answer = midterm("module", "grad", *given, "--output=~/run", "--force", "--quiet")
        assert (answer.code, answer.out) == (0, f"{tmp_path / 'run'}\n"), answer
        config = json.loads((tmp_path / "run" / "metrics.json").read_text())["config"]
        assert config["matrix"] == str(tmp_path / "m.csv")
    assert midterm("show", "~/run").code == 0
    assert midterm("config", "copy", "train", "~/copied.yaml").code == 0
    assert (tmp_path / "copied.yaml").is_file()
    assert list(folder.iterdir()) == []


def test_a_sentence_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    for words in (["--sentence", "~ a b"], ["--sentence=~ a b"]):
        values = COMMANDS["conv", "stack"].make_context("stack", words).params
        assert values["sentence"] == "~ a b"


TRAINING = {name: COMMANDS[word,] for name, word in [
    ("train", "train"), ("lr_sweep", "lr-sweep"), ("lr_range", "lr-range-test")
]}  # fmt: skip


def test_the_same_keys_have_the_same_options() -> None:
    """A key that the configs of two training commands share is an option of both or of neither."""
    options = {
        name: {option.name: option for option in command.params}
        for name, command in TRAINING.items()
    }
    keys = {name: set(EXPERIMENTS[name].config_class.model_fields) for name in TRAINING}
    for one, other in itertools.combinations(TRAINING, 2):
        shared = keys[one] & keys[other]
        assert {"batch_size", "hidden_sizes", "optimizer"} <= shared
        assert shared & set(options[one]) == shared & set(options[other])
        for key in shared & set(options[one]) - {"start_lr"}:
            assert options[one][key].opts == options[other][key].opts
            assert options[one][key].help == options[other][key].help
