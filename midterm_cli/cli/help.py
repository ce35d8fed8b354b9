"""What --help shows of a command: its options with choices and defaults, and examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args, get_origin

from midterm_cli.cli.command import StrictCommand
from midterm_cli.text import shown

if TYPE_CHECKING:
    from midterm_cli.experiment import ExperimentConfig

_EXAMPLES = "\n\nExamples:\n"


class Command(StrictCommand):
    """A command whose docstring may end in examples, one a line.

    Attributes:
        experiment: that it runs, if it runs one: its config has the defaults of the options.
    """

    experiment: ClassVar[str | None] = None

    @property
    def examples(self) -> list[str]:
        """The command lines of the docstring's examples."""
        _, _, lines = (self.help or "").partition(_EXAMPLES)
        return [line.strip() for line in lines.splitlines() if line.strip()]

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """What it does."""
        text, _, _ = (self.help or "").partition(_EXAMPLES)
        with formatter.indentation():
            formatter.write_paragraph()
            formatter.write_text(text)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Its arguments and options, with the choices and the defaults of the config."""
        config = _packaged(self.experiment) if self.experiment else None
        found: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                names, text = record
                note = _note(config, parameter.name, text) if config else ""
                if parameter.param_type_name == "argument":
                    names = names.partition(" <")[0]  # typer adds the Python type
                found[parameter.param_type_name].append((names, f"{text}{note}"))
        for kind, records in found.items():
            if records:
                with formatter.section(f"{kind.capitalize()}s"):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Examples, and where the other keys are."""
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")
        if self.experiment:
            formatter.write_paragraph()
            formatter.write(f"All keys of its config: midterm config show {self.experiment}\n")


def _packaged(experiment: str) -> ExperimentConfig:
    from midterm_cli.config.resolve import resolve

    return resolve(experiment).config


def _note(config: ExperimentConfig, key: str | None, text: str) -> str:
    """The choices of a key, where its text does not name them, and its default, if it has one."""
    if key not in type(config).model_fields:
        return ""
    annotation, default = type(config).model_fields[key].annotation, getattr(config, key)
    choices = [str(it) for it in get_args(annotation) if get_origin(annotation) is Literal]
    parts = [] if all(choice in text for choice in choices) else [" | ".join(choices)]
    if default is not None:
        parts.append(f"default: {default if isinstance(default, str) else shown(default)}")
    return f"  [{'; '.join(parts)}]" if parts else ""
