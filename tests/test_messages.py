"""What midterm says, word for word: the table is messages.txt."""

import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from answer import Answer

HERE = Path(__file__).parent
EARLIER = HERE / "runs" / "version_0_1_0"


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Each command of a transcript, without its `$ `, and what stands below it."""
    for block in text.split("\n$ ")[1:]:
        command, _, below = block.partition("\n")
        lines = [line for line in below.splitlines() if line and not line.startswith("# ----")]
        yield command, "".join(f"{line}\n" for line in lines)


TABLE = list(blocks((HERE / "messages.txt").read_text(encoding="utf-8")))
FILES = {command[4:]: below for command, below in TABLE if command.startswith("cat ")}
MESSAGES = [(command, below) for command, below in TABLE if not command.startswith("cat ")]


@pytest.fixture
def furnished(folder: Path) -> Mapping[str, bytes]:
    """A folder with the files of the table; returns what is in them."""
    shutil.copytree(EARLIER, "earlier")
    for name, content in FILES.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(content, encoding="utf-8")
    return contents(folder)


def contents(folder: Path) -> Mapping[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_each_command_stands_once_in_the_table() -> None:
    commands = [command for command, _ in TABLE]
    assert len(commands) == len(set(commands)) > 100


@pytest.mark.parametrize(("command", "message"), MESSAGES, ids=[command for command, _ in MESSAGES])
def test_message(
    command: str,
    message: str,
    folder: Path,
    furnished: Mapping[str, bytes],
    midterm: Callable[..., Answer],
) -> None:
    program, *arguments = shlex.split(command)
    assert program == "midterm"

    answer = midterm(*arguments)

    assert answer.err == message
    if message.startswith("Error:"):
        assert answer.code == 2
        assert contents(folder) == furnished
