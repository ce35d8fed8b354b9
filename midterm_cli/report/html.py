"""The page as one HTML file: no script, no font, no image and no style from anywhere else."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from midterm_cli.report.document import Document
from midterm_cli.report.formula import to_mathml
from midterm_cli.text import printable


def render(document: Document) -> str:
    """Write the page."""
    environment = Environment(
        loader=PackageLoader("midterm_cli.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_without_control_characters,
    )
    environment.filters["mathml"] = to_mathml
    return environment.get_template("page.html").render(document=document)


def _without_control_characters(value: object) -> object:
    """For text on its way into the page; what is already HTML is left alone."""
    return printable(value) if type(value) is str else value
