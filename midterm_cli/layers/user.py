"""A network of the user's own: a class or a function in a Python file, named FILE.py:NAME."""

from __future__ import annotations

import hashlib
import inspect
import sys
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from stat import S_ISREG
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from midterm_cli.errors import UserError
from midterm_cli.layers.reference import split
from midterm_cli.text import closest, did_you_mean, printable, shortened

if TYPE_CHECKING:
    from torch import nn

MAX_BYTES = 2**20
_MAX_SHOWN = 160


class Source(NamedTuple):
    """A network's code as it was read. It can be pickled, so that every worker builds the same.

    Attributes:
        file: as it was named.
        name: of the class or the function in it.
        text: of the file.
    """

    file: str
    name: str
    text: str

    def __str__(self) -> str:
        """FILE.py:NAME, ready to print."""
        return printable(f"{self.file}:{self.name}")


def read(reference: str) -> Source:
    """Read the file of FILE.py:NAME, and execute nothing of it.

    Raises:
        UserError: there is no NAME, or the file is not there, not a file, too large or not UTF-8.
    """
    file, name = split(reference)
    path, shown = Path(file), printable(file)
    if not name:
        raise UserError(f"say which class or function of {shown} makes the network: {shown}:NAME")
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):
            raise UserError(f"{shown} is not a file: name a Python file, as FILE.py:NAME")
        if status.st_size > MAX_BYTES:
            raise UserError(
                f"{shown} has {status.st_size:,} bytes, and up to {MAX_BYTES:,} are read: "
                "a network's code is shorter"
            )
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        near = None
        if isinstance(error, FileNotFoundError):
            near = closest(path.name, (beside.name for beside in path.parent.glob("*.py")))
        meant = f": did you mean '{printable(path.with_name(near))}'?" if near else ""
        raise UserError(f"cannot read {shown}: {error.strerror}{meant}") from None
    except UnicodeDecodeError:
        raise UserError(f"{shown} is not UTF-8: save it as UTF-8") from None
    return Source(file, name, text)


def factory(source: Source, in_shape: tuple[int, ...], num_classes: int) -> Callable[[], nn.Module]:
    """Execute the file, and return what builds a new network at each call.

    What is executed may draw random numbers, seed the generator or start threads, like any code.

    Args:
        source: from `read`.
        in_shape: of one input: channels, height and width. It is passed on as a keyword, if NAME
            has this parameter.
        num_classes: passed on in the same way.

    Returns:
        A function without arguments. It raises UserError where NAME raises, or returns no module,
        or the one that it has returned before.

    Raises:
        UserError: the file does not parse or raises, or NAME is not there, is nothing that makes a
            network, or needs other arguments.
    """
    from torch import nn

    make = _find(source, _execute(source))
    arguments = _arguments(source, make, {"in_shape": in_shape, "num_classes": num_classes})
    earlier: weakref.ref[nn.Module] | None = None

    def build() -> nn.Module:
        nonlocal earlier
        with (
            executing(source, f"building {printable(source.name)}"),
            redirect_stdout(sys.stderr),
        ):
            network = make(**arguments)
        if not isinstance(network, nn.Module):
            kind = with_article(type(network).__name__)
            raise UserError(
                f"{source} returns {kind}, which is no torch.nn.Module: return the network"
            )
        if earlier is not None and network is earlier():
            raise UserError(
                f"{source} returns the same module at every call, and each model needs weights of "
                "its own: make it inside the function"
            )
        earlier = weakref.ref(network)
        return network

    return build


def _execute(source: Source) -> ModuleType:
    digest = hashlib.sha256(source.text.encode()).hexdigest()
    module = ModuleType(f"midterm_network_{digest[:16]}")
    module.__file__, module.__package__ = source.file, ""
    # stdout is for results.
    vars(module)["print"] = partial(print, file=sys.stderr)
    # Dataclasses and pickle look a class's module up by its name.
    sys.modules[module.__name__] = module
    with executing(source, "parsing it"):
        code = compile(source.text, source.file, "exec", dont_inherit=True)
    with executing(source, "executing it"), redirect_stdout(sys.stderr):
        exec(code, vars(module))
    return module


@contextmanager
def executing(source: Source, doing: str) -> Iterator[None]:
    """Turn what the user's code raises into a UserError with the line of their file.

    This is the one place where any exception is caught: the code is foreign, so none can be named
    beforehand, and none of them is a bug of ours.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        raise UserError(_failure(source, doing, error)) from error


def _failure(source: Source, doing: str, error: BaseException) -> str:
    file = printable(source.file)
    line, said = _line_of(source, error), _said(error)
    if isinstance(error, SyntaxError) and error.filename == source.file:
        line, said = error.lineno, f"it does not parse: {error.msg}"
    elif isinstance(error, ImportError):
        said = f"{said}: put what it imports into this one file, or install it"
    else:
        said = f"{doing} raises {said}"
    if line is None:
        return f"{file}: {said}"
    # As Python counts lines: str.splitlines breaks at more characters.
    code = source.text.split("\n")[line - 1].strip()
    return f"{file}, line {line}: {said}\n    {shortened(printable(code), _MAX_SHOWN)}"


def _line_of(source: Source, error: BaseException) -> int | None:
    """The innermost line of the user's file that the error went through."""
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_code.co_filename == source.file]
    return lines[-1] if lines else None


def _said(error: BaseException) -> str:
    """Type and message, on one line."""
    # A SyntaxError begins with the place where it is, indented.
    lines = traceback.format_exception_only(error)
    said = next(line for line in lines if not line.startswith(" "))
    return shortened(printable(said.strip().partition("\n")[0]), _MAX_SHOWN)


def _find(source: Source, module: ModuleType) -> Callable[..., Any]:
    from torch import nn

    known = {
        name
        for name, value in vars(module).items()
        if isinstance(value, type | FunctionType) and value.__module__ == module.__name__
    }
    file, name = printable(source.file), printable(source.name)
    if source.name not in vars(module):
        near = did_you_mean(source.name, known) if known else "it defines no class and no function"
        raise UserError(f"{file} has no '{name}': {near}")
    found: Any = vars(module)[source.name]
    is_class = isinstance(found, type)
    if isinstance(found, FunctionType) or (is_class and issubclass(found, nn.Module)):
        make: Callable[..., Any] = found
        return make
    if isinstance(found, nn.Module):
        raise UserError(
            f"{source} is a module, and each model needs one of its own: "
            f"name a function that makes it, or its class"
        )
    what = "a class" if is_class else with_article(type(found).__name__)
    raise UserError(
        f"{source} is {what}, which makes no network: "
        "name a class of torch.nn.Module, or a function that returns one"
    )


def _arguments(source: Source, make: Callable[..., Any], offered: dict[str, Any]) -> dict[str, Any]:
    """Those of the offered arguments that it takes.

    Raises:
        UserError: it needs others.
    """
    with executing(source, f"asking {printable(source.name)} for its parameters"):
        parameters = inspect.signature(make).parameters.values()
    taken = [
        parameter.name
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        and parameter.name in offered
    ]
    missing = [
        parameter.name
        for parameter in parameters
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and parameter.default is parameter.empty
        and parameter.name not in taken
    ]
    if missing:
        raise UserError(
            f"{source} needs {', '.join(missing)}, and only {' and '.join(offered)} are given: "
            "give it a default"
        )
    return {name: offered[name] for name in taken}


def with_article(noun: str) -> str:
    """A noun, or a class's name, with its article: an Identity, an LSTM, a GRU."""
    as_vowels = "AEFHILMNORSX" if noun[:2].isupper() else "AEIOUaeiou"
    return f"{'an' if noun[0] in as_vowels else 'a'} {noun}"
