import os
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from midterm_cli.report import markdown
from midterm_cli.report.document import (
    Block,
    Code,
    Commands,
    Document,
    Formula,
    Items,
    Math,
    Notice,
    Paragraph,
    Picture,
    Plain,
    Strong,
    Table,
    prose,
)


def render(*blocks: Block) -> str:
    return markdown.render(Document("Title", blocks, []), Path("runs/report"))


def read(*blocks: Block) -> str:
    """As a reader of CommonMark with tables shows it; markup in it would come through."""
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return str(reader.render(render(*blocks)))


HOSTILE = [
    "<script>alert(1)</script>",
    "[x](javascript:alert(1))",
    "![x](https://example.org/x.png)",
    "`` ` ``` code",
    "a | b \\| c",
    "*a* _b_ **c** ~~d~~",
    "&lt;b&gt; &#60;",
    "\\",
    "line\n\n# heading\r\n> quote",
    "\x1b[31m\x00\u202e",
    "$$x$$ $y$",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("kind", [Plain, Code, Strong])
def test_text_means_itself(text: str, kind: type[Plain | Code | Strong]) -> None:
    piece = kind(text)
    table = Table((piece,), [(piece,), (piece,)], [[(piece,), (piece,)]])
    shown = read(
        Paragraph((piece,)), Items([(piece,)]), Notice((piece,)), table, Commands("c", [text])
    )
    for tag in ("<script", "<a ", "<img", "<h2", "<s>", "<em>c", "<b>"):
        assert tag not in shown
    assert shown.count("<h1>") == 1
    assert shown.count("<td>") == 2
    assert shown.count("<th>") == 2
    assert shown.count("<blockquote>") == 1
    assert "\x1b" not in shown
    assert "\x00" not in shown


def test_formulas_are_between_dollars_only_if_they_are_mathematics() -> None:
    shown = render(
        Paragraph((Math("x^2", after="."), Math(r"\href{javascript:1}{x}"))),
        Formula("x$ $y"),
        Formula("<script>1</script>"),
        Formula("a < b"),
        Formula("\n\\frac{a}{b}\n"),
    )
    assert "$x^2$.`\\href{javascript:1}{x}`" in shown
    assert "`x$ $y`" in shown
    assert "`<script>1</script>`" in shown
    assert "$$\na < b\n$$" in shown
    assert "$$\n\\frac{a}{b}\n$$" in shown


def test_figures_are_those_of_the_run_folders() -> None:
    path = Path(os.fsdecode(b"runs/train/a b,(c)\xff/curves.png"))
    figure = Picture("data:,", path, 1, 1, "Al[t", prose("Cap."))
    shown = "![Al\\[t](../train/a%20b%2C%28c%29%FF/curves.png)\n"
    assert f"{shown}\n*Cap.*" in render(figure)
    assert render(Picture("data:,", path, 1, 1, "Al[t", ())).endswith(shown)


def test_numbers_stand_flush_right() -> None:
    rows = [[prose("a"), prose("1.5"), prose("yes")]]
    table = Table(prose("T"), [prose("x"), prose("y"), prose("z")], rows)
    assert "| x | y | z |\n| --- | ---: | --- |\n| a | 1.5 | yes |" in render(table)
