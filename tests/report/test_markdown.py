"""What a run holds is text in the report's Markdown, for any reader of it."""

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from midterm_cli.markdown import escaped, table
from midterm_cli.report import html
from midterm_cli.report.markdown import cell, code, formula, verbatim
from midterm_cli.text import printable

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
    "# heading",
    "- item",
    "1. item",
    "--- ",
    "===",
    "     code",
    "~~~",
]


def read(text: str) -> str:
    """As a reader of CommonMark with tables shows it; markup in it would come through."""
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return str(reader.render(text))


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("show", [escaped, code])
def test_text_means_itself(text: str, show: type[str]) -> None:
    shown = read(
        f"# Title\n\n{show(text)}\n\n- {show(text)}\n\n> {show(text)}\n\n**{show(text)}**\n\n"
        f"{table([[text, text]], [text, text])}\n\n"
        f"| a | b |\n| --- | --- |\n| {cell(text)} | end |\n\nCommands:\n\n    {verbatim(text)}\n"
    )
    assert "<td>end</td>" in shown
    for tag in ("<script", "<a ", "<img", "<h2", "<s>", "<em>", "<b>", "<hr", "<ol"):
        assert tag not in shown
    counted = Counter(re.findall("<(h1|td|th|li|blockquote|pre)[ >]", shown))
    assert counted == {"h1": 1, "td": 4, "th": 4, "li": 1, "blockquote": 1, "pre": 1}
    assert printable(shown.replace("\n", "")) == shown.replace("\n", "")


def any_text(marks: str) -> st.SearchStrategy[str]:
    return st.text(st.one_of(st.sampled_from(marks), st.characters()), min_size=1)


@given(any_text("$`*_[]()<>|&~\\#-+=1. \n!:"))
def test_the_page_shows_the_text_itself(text: str) -> None:
    for before, kind in (("", "paragraph"), ("- ", "bullet_list"), ("> ", "blockquote")):
        [block] = html.read(f"{before}{escaped(text)} end").children
        leaves = [node for node in block.walk() if not node.children]
        assert (block.type, {leaf.type for leaf in leaves}) == (kind, {"text"})
        assert "".join(leaf.content for leaf in leaves) == f"{printable(text)} end".lstrip(" ")


@given(any_text("` |\\$"))
def test_a_code_span_shows_the_text_itself(text: str) -> None:
    [paragraph] = html.read(f"a {code(text)}").children
    *_, span = paragraph.children[0].children
    assert (span.type, span.content.strip()) == ("code_inline", printable(text).strip())


def test_formulas_are_between_dollars_only_if_they_are_mathematics() -> None:
    assert formula("\n\\frac{a}{b}\n") == "$$\n\\frac{a}{b}\n$$"
    assert formula("a < b") == "$$\na < b\n$$"
    for latex in ("x$ $y", "<script>1</script>", r"\href{javascript:1}{x}", "a\u202eb", r"\frac{"):
        assert formula(latex) == code(latex)
    assert formula("x\n\ny").startswith("`")


@pytest.mark.parametrize(
    ("cells", "numeric"),
    [
        (["1", "−2.5", "1.3e-13", ""], True),
        (["0.031 [0.020, 0.041]", "1 ± 2", "–"], True),
        (["0 of 10", "10 of 10"], True),
        (["1", "agrees"], False),
        (["2.14.1+cu130"], False),
        (["16 collapse"], False),
    ],
)
def test_numbers_stand_flush_right(cells: list[str], numeric: bool) -> None:
    rule = table([["1", cell] for cell in cells], ["a", "b"]).splitlines()[1]
    assert rule == f"| --- | {'---:' if numeric else '---'} |"  # the first column names the row
