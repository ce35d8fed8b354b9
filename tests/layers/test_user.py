"""A network of the user's own, FILE.py:NAME: what is read, executed, built and refused."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from midterm_cli.errors import UserError
from midterm_cli.layers import reference, user

HEAD = "import torch\nfrom torch import nn\n"
SHAPE = (1, 28, 28)


def source(text: str, name: str = "Net", head: str = HEAD) -> user.Source:
    return user.Source("net.py", name, head + text)


def factory(text: str, name: str = "Net", head: str = HEAD) -> Callable[[], nn.Module]:
    return user.factory(source(text, name, head), SHAPE, 10)


def test_what_names_a_python_file() -> None:
    for text in ("net.py:Net", "net.py", "net.py:", "a/b c.py:f", "/x/y.py:Net", "C:a.py:Net"):
        assert reference.is_reference(text)
    for text in ("mlp", "conv_stack", "net.yaml", "n.pyc:Net", "net.py.txt", "", "\0.py:N"):
        assert not reference.is_reference(text)
    assert reference.file_of("C:a/b.py:Net") == Path("C:a/b.py")


def test_what_is_read_is_built_whatever_becomes_of_the_file(folder: Path) -> None:
    file = Path("net.py")
    file.write_bytes(b"\xef\xbb\xbffrom torch import nn\r\nNet = lambda: nn.Linear(2, 3)\r\n")
    read = user.read("net.py:Net")
    file.write_text("1 / 0\n", encoding="utf-8")
    there = pickle.loads(pickle.dumps(read))
    assert (
        there
        == read
        == user.Source("net.py", "Net", "from torch import nn\nNet = lambda: nn.Linear(2, 3)\n")
    )
    network = user.factory(there, SHAPE, 10)()
    assert isinstance(network, nn.Linear)


def test_a_file_is_executed_once_a_factory_and_not_when_it_is_read(folder: Path) -> None:
    count = "with open('count', 'a') as f: f.write('x')\nNet = lambda: nn.Identity()\n"
    Path("net.py").write_text(HEAD + count, encoding="utf-8")
    read = user.read("net.py:Net")
    assert not Path("count").exists()
    for times in (1, 2):
        build = user.factory(read, SHAPE, 10)
        assert build() is not build()
        assert Path("count").read_text(encoding="utf-8") == "x" * times


def test_reading_does_not_wait_for_torch(folder: Path) -> None:
    Path("net.py").write_text("1 / 0\n", encoding="utf-8")
    code = (
        "import sys\nfrom midterm_cli.layers import user\n"
        "user.read('net.py:Net')\nassert 'torch' not in sys.modules\n"
    )
    path = {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | path)


@pytest.mark.parametrize(
    "text",
    [
        "class Net(nn.Linear):\n def __init__(self, num_classes, in_shape):\n"
        "  super().__init__(in_shape[1], num_classes)\n",
        "def Net(in_shape, *, num_classes, depth=3): return nn.Linear(in_shape[1], num_classes)\n",
        "def Net(*args, **other):\n assert not args and not other\n return nn.Linear(28, 10)\n",
        "Net = lambda num_classes: nn.Linear(28, num_classes)\n",
        "class Net(nn.Linear):\n def __init__(self): super().__init__(28, 10)\n",
    ],
)
def test_shape_and_classes_are_given_to_what_takes_them(text: str) -> None:
    build = factory(text)
    one, other = build(), build()
    assert isinstance(one, nn.Linear)
    assert (one.in_features, one.out_features) == (28, 10)
    assert one.weight is not other.weight
    assert not torch.equal(one.weight, other.weight)  # type: ignore[arg-type]


def test_a_module_without_a_constructor_is_given_nothing() -> None:
    assert isinstance(factory("class Net(nn.Module): pass\n")(), nn.Module)


def test_a_class_finds_its_module_and_what_stands_beside_it() -> None:
    text = (
        "from __future__ import annotations\nfrom dataclasses import KW_ONLY, dataclass\n"
        "from torch import nn\n@dataclass\nclass Shape:\n _: KW_ONLY\n width: int = 3\n"
        "def Net(): return nn.Linear(Shape(width=4).width, len(__file__))\n"
    )
    network = factory(text, head="")()
    assert isinstance(network, nn.Linear)
    assert (network.in_features, network.out_features) == (4, len("net.py"))


def test_what_the_file_prints_is_not_a_result(capfd: pytest.CaptureFixture[str]) -> None:
    factory("print('executed')\ndef Net():\n print('built')\n return nn.Identity()\n")()
    assert capfd.readouterr() == ("", "executed\nbuilt\n")


def test_main_is_not_run() -> None:
    factory("def Net(): return nn.Identity()\nif __name__ == '__main__': 1 / 0\n")()


# ---- mistakes


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("net.py", "say which class or function of net.py makes the network: net.py:NAME"),
        ("net.py:", "say which class or function of net.py makes the network: net.py:NAME"),
        ("net:Net", "net:Net is not FILE.py:NAME, with a class or a function"),
        ("nets.py:Net", "cannot read nets.py: No such file or directory: did you mean 'net.py'?"),
        ("no/\x1b.py:Net", r"cannot read no/\x1b.py: No such file or directory"),
        (f"{'n' * 300}/net.py:Net", f"cannot read {'n' * 300}/net.py: File name too long"),
        ("net.py/net.py:Net", "cannot read net.py/net.py: Not a directory"),
        ("folder.py:Net", "folder.py is not a file: name a Python file, as FILE.py:NAME"),
        ("pipe.py:Net", "pipe.py is not a file: name a Python file, as FILE.py:NAME"),
        ("latin.py:Net", "latin.py is not UTF-8: save it as UTF-8"),
        (
            "large.py:Net",
            "large.py has 1,048,577 bytes, and up to 1,048,576 are read: "
            "a network's code is shorter",
        ),
    ],
)
def test_what_cannot_be_read(reference: str, message: str, folder: Path) -> None:
    Path("net.py").touch()
    Path("folder.py").mkdir()
    os.mkfifo("pipe.py")
    Path("latin.py").write_bytes("# é".encode("latin-1"))
    Path("large.py").write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(UserError) as raised:
        user.read(reference)
    assert str(raised.value) == message


def test_the_largest_file_is_read(folder: Path) -> None:
    Path("net.py").write_bytes(b"#" * 2**20)
    assert user.read("net.py:Net").text == "#" * 2**20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class Net(:\n", "net.py, line 3: it does not parse: invalid syntax\n    class Net(:"),
        ("\0", "net.py: parsing it raises"),
        ("x = 1 / 0\n", "net.py, line 3: executing it raises ZeroDivisionError: division by zero"),
        ("\x0cx = nm\n", "net.py, line 3: executing it raises NameError: name 'nm' is not defined"),
        ("exit(3)\n", "net.py, line 3: executing it raises SystemExit: 3\n    exit(3)"),
        ("exec('1 +')\n", "net.py, line 3: executing it raises SyntaxError: invalid syntax"),
        (
            "import nowhere.to_be\n",
            "net.py, line 3: ModuleNotFoundError: No module named 'nowhere': put what it imports "
            "into this one file, or install it\n    import nowhere.to_be",
        ),
        ("from .blocks import Net\n", "line 3: ImportError: attempted relative import with no kn"),
        ("class Nett: pass\n", "net.py has no 'Net': did you mean 'Nett'?"),
        ("class A: pass\ndef b(): pass\n", "net.py has no 'Net': known are A, b"),
        ("", "net.py has no 'Net': it defines no class and no function"),
        ("Net = nn.Linear(2, 3)\n", "net.py:Net is a module, and each model needs one of its own"),
        ("Net = 3\n", "net.py:Net is an int, which makes no network: name a class of torch.nn.Mod"),
        ("class Net: pass\n", "net.py:Net is a class, which makes no network: name a class of"),
        (
            "def Net(width, num_classes, *, depth): pass\n",
            "net.py:Net needs width, depth, and only in_shape and num_classes are given: give it a",
        ),
        ("def Net(in_shape, /): pass\n", "net.py:Net needs in_shape, and only"),
    ],
)
def test_a_file_that_makes_no_network(text: str, message: str) -> None:
    with pytest.raises(UserError) as raised:
        factory(text)
    assert message in str(raised.value)
    assert len(str(raised.value).splitlines()) <= 2


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 3", "net.py:Net returns an int, which is no torch.nn.Module: return the network"),
        ("pass", "net.py:Net returns a NoneType, which is no torch.nn.Module: return the network"),
        (
            "return nn.Linear(2)",
            "net.py, line 4: building Net raises TypeError: Linear.__init__() missing 1 required "
            "positional argument: 'out_features'\n    def Net(): return nn.Linear(2)",
        ),
        ("return part()", "net.py, line 3: building Net raises ValueError: two\n    def part(): "),
        ("import nowhere", "net.py, line 4: ModuleNotFoundError: No module named 'nowhere': put"),
    ],
)
def test_a_network_that_cannot_be_built(body: str, message: str) -> None:
    build = factory(f"def part(): raise ValueError('two\\nlines')\ndef Net(): {body}\n")
    with pytest.raises(UserError) as raised:
        build()
    assert message in str(raised.value)


def test_one_module_for_all_models_is_refused() -> None:
    build = factory("net = nn.Linear(2, 3)\ndef Net(): return net\n")
    build()
    with pytest.raises(UserError, match="returns the same module at every call"):
        build()


def test_the_user_may_still_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt):
        factory("raise KeyboardInterrupt\n")


def test_an_exception_that_cannot_be_printed() -> None:
    text = "class E(Exception):\n def __str__(self): 1 / 0\nraise E\n"
    with pytest.raises(UserError, match=r"line 5: executing it raises .*E: <exception str\(\) fai"):
        factory(text)
