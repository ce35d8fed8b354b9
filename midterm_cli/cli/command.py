"""How a command line is parsed: what would be dropped without a word is refused."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand, TyperGroup, TyperOption

from midterm_cli.cli.exit_codes import INTERRUPTED, TERMINATED
from midterm_cli.errors import UserError
from midterm_cli.files import with_home
from midterm_cli.text import printable

if TYPE_CHECKING:
    from typer._click import Context, Parameter


class StrictCommand(TyperCommand):
    """A command that refuses an option given twice, and a value that belongs to none."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """As click's, after a look at what click would drop.

        Raises:
            UserError: an option of one value is given twice, or has two values.
        """
        args = list(self._with_home(self._with_pairs(args)))
        if ctx.resilient_parsing:  # a shell asks how a line that is not finished may go on
            return super().parse_args(ctx, args)
        _, rest, order = self.make_parser(ctx).parse_args(args=list(args))
        given = [option for option in order if isinstance(option, TyperOption)]
        if not any(option.is_eager for option in given):  # such as --help
            for option in given:
                if given.count(option) > 1 and _takes_one(option):
                    raise UserError(_given_twice(ctx, option, args))
            if rest:
                self._refuse_rest(rest, args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Context) -> Any:
        """Run the command; one that is interrupted returns the exit code that says so."""
        from midterm_cli.runner.interrupt import Terminated

        try:
            return super().invoke(ctx)
        except Terminated:
            return TERMINATED
        except KeyboardInterrupt:
            return INTERRUPTED

    def _with_pairs(self, args: Sequence[str]) -> Iterator[str]:
        """The arguments, where --range -1,1 is written as --range -1 1."""
        pairs = {name for option in self.params if option.nargs == 2 for name in option.opts}
        before = ""
        for arg in args:
            name, _, value = arg.partition("=")
            if name in pairs and value.count(",") == 1:
                yield from (name, *value.split(","))
            elif before in pairs and arg.count(",") == 1:
                yield from arg.split(",")
            else:
                yield arg
            before = arg

    def _with_home(self, args: Iterable[str]) -> Iterator[str]:
        """The arguments, `~` replaced by the home, which no shell does in --output=~/run."""
        texts = {name for option in self.params for name in option.opts if _is_text(option)}
        before = ""
        for arg in args:
            name, equals, value = arg.partition("=")
            if name.startswith("--") and equals:
                yield arg if name in texts else f"{name}={with_home(value)}"
            else:
                yield arg if before in texts else with_home(arg)
            before = arg

    def _refuse_rest(self, rest: Sequence[str], args: Sequence[str]) -> None:
        """Refuse a second value behind an option that takes one, and all but two behind a pair."""
        options = {name: option for option in self.params for name in option.opts}
        for i, name in enumerate(args):
            option, values = options.get(name), args[i + 1 : i + 3]
            if not isinstance(option, TyperOption) or option.is_flag:
                continue
            is_followed = args[i + 1 + option.nargs : i + 2 + option.nargs] == rest[:1]
            is_short = any(value.startswith("--") for value in values)
            if option.nargs == 2 and (is_short or is_followed):
                found = values[:1] if is_short else [*values, rest[0]]
                raise UserError(
                    f"{name} takes two numbers, got {printable(' and '.join(found))}: "
                    f"write {name} LOW HIGH"
                )
            if option.nargs == 1 and is_followed:
                raise UserError(
                    f"{name} takes one value, got {printable(' and '.join(values))}: "
                    f"{printable(_as_one(option, name, [values[0], *rest]))}"
                )


def _as_one(option: TyperOption, name: str, words: Sequence[str]) -> str:
    """How to give an option of one value what was typed as several words, without quotes."""
    rows = [re.findall(r"[^\s,\[\]]+", row) for row in re.split(r"\]\s*,?\s*\[", " ".join(words))]
    sizes = [number for number in rows[0] if number.isdigit()]
    if option.metavar == "HxW" and len(sizes) == 2 and {*rows[0]} <= {*sizes, "x"}:
        return f"write {name} {'x'.join(sizes)}"
    if option.metavar == "NUMBERS":
        return f"write {name} {shlex.quote(';'.join(map(','.join, rows)))}"
    if option.multiple:
        return f"write {name} {words[0]} {name} {words[1]}"
    return "leave one of them out"


class OnlyCommand(TyperGroup):
    """A group of one command, which runs where none is named."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """As typer's, with the command put in where options or nothing come first."""
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = [*self.commands, *args]
        return super().parse_args(ctx, args)


def _is_text(option: Parameter) -> bool:
    """Whether the values are no names of files, such as formulas and sentences."""
    return option.metavar == "TEXT"


def _takes_one(option: TyperOption) -> bool:
    """Whether a second value would take the place of the first; a mere flag has none."""
    return not option.multiple and (not option.is_flag or bool(option.secondary_opts))


def _given_twice(ctx: Context, option: TyperOption, args: Sequence[str]) -> str:
    """What to do in place of giving an option twice: a run for each of its values, if it can be."""
    from midterm_cli.registry import EXPERIMENTS

    message = f"{option.opts[0]} is given twice: leave one of them out"
    values = []
    for before, arg in pairwise(["", *args]):
        name, _, value = arg.partition("=")
        if before in option.opts:
            values.append(arg)
        elif name in option.opts and value:
            values.append(value)
    if option.is_flag or any(mark in value for value in values for mark in ",;[ "):
        return message
    for row in EXPERIMENTS.values():
        if row.command == ctx.command_path and option.name in row.config_class.model_fields:
            grid = ["midterm", "grid", row.name, f"{option.name}={','.join(values)}"]
            message += f"\nfor a run with each of them: {printable(shlex.join(grid))}"
    return message
