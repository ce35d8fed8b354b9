"""The page as one HTML file: no script, no font, no image and no style from anywhere else.

It is made of the Markdown alone. Three conventions give it more than Markdown has: the paragraph
before a table is its caption, the one after an image too, and the one before a code block says what
its commands are for.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode
from markupsafe import Markup, escape
from mdit_py_plugins.anchors import anchors_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin

from midterm_cli.report.figures import Picture
from midterm_cli.report.formula import to_mathml

# What the templates use, and no more: no HTML, no links.
_MARKDOWN = (
    MarkdownIt("zero")
    .enable(["heading", "list", "blockquote", "code", "table"])
    .enable(["backticks", "emphasis", "escape", "image"])
    .use(dollarmath_plugin, allow_labels=False, allow_space=False, allow_digits=False)
    .use(anchors_plugin, min_level=2, max_level=3)
)

# Printed, the items of a longer list follow each other in lines.
_LONG_LIST = 8

_LABEL = re.compile(r"(Question|Answer|Derivation|Part \d)\.")
# No line break may part a formula from its punctuation.
_INLINE_MATH = re.compile(r'\(?<math display="inline">.*?</math>[.,;:?!)]*', re.DOTALL)


class Heading(NamedTuple):
    """Of a question, as the contents name it."""

    anchor: str
    title: Markup


class Section(NamedTuple):
    """A part of the page."""

    anchor: str
    title: Markup
    headings: Sequence[Heading]
    body: Markup


def read(text: str) -> SyntaxTreeNode:
    """Parse the Markdown."""
    return SyntaxTreeNode(_MARKDOWN.parse(text))


def notices(document: SyntaxTreeNode) -> list[str]:
    """What stands between the reader and the exercise's answers, as lines of text."""
    return [_text(node) for node in document.walk() if node.type == "blockquote"]


def render(
    document: SyntaxTreeNode, pictures: Mapping[str, Picture], *, short: bool = False
) -> str:
    """Write the page.

    Args:
        document: the parsed Markdown: a title, the author as a paragraph of emphasis if there is
            one, the abstract, and a heading before each part.
        pictures: what its images show, by their paths.
        short: whether it is a short report, printed in larger letters.
    """
    title, *rest = document.children
    author = rest.pop(0) if rest and _is_emphasis(rest[0]) else None
    parts: list[list[SyntaxTreeNode]] = [[]]
    for node in rest:
        if node.tag == "h2":
            parts.append([])
        parts[-1].append(node)
    abstract, *sections = parts
    renderer = _Renderer(pictures)
    environment = Environment(
        loader=PackageLoader("midterm_cli.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        title=_text(title),
        author=None if author is None else _text(author),
        short=short,
        abstract=renderer.blocks(abstract),
        sections=[renderer.section(*nodes) for nodes in sections],
    )


class _Renderer:
    """Markdown's syntax tree as HTML."""

    def __init__(self, pictures: Mapping[str, Picture]) -> None:
        self._pictures = pictures

    def section(self, title: SyntaxTreeNode, *nodes: SyntaxTreeNode) -> Section:
        """A part, which begins with its title."""
        headings = [self._heading(node) for node in nodes if node.type == "heading"]
        return Section(*self._heading(title), headings, self.blocks(nodes))

    def blocks(self, nodes: Iterable[SyntaxTreeNode]) -> Markup:
        """Blocks of text, one below the other."""
        return Markup("\n").join(self._blocks(deque(nodes)))

    def _blocks(self, nodes: deque[SyntaxTreeNode]) -> Iterator[Markup]:
        while nodes:
            node = nodes.popleft()
            following = nodes[0].type if nodes else None
            match node.type:
                case "paragraph" if following == "table":
                    yield self._table(nodes.popleft(), caption=node)
                case "paragraph" if following == "code_block":
                    yield self._commands(nodes.popleft(), label=node)
                case "paragraph" if _is_image(node):
                    yield self._figure(node, caption=nodes.popleft())
                case "paragraph":
                    yield self._paragraph(node)
                case "heading":
                    yield Markup('<h3 id="{}">{}</h3>').format(*self._heading(node))
                case "math_block":
                    yield _box("Formula", _math(node.content, "block"), "scroll formula")
                case "bullet_list":
                    items = [Markup("<li>{}</li>").format(self._inline(i)) for i in node.children]
                    kind = "items long" if len(items) > _LONG_LIST else "items"
                    lines = Markup("\n").join(items)
                    yield Markup('<ul class="{}">\n{}\n</ul>').format(kind, lines)
                case "blockquote":
                    text = self._inline(node)
                    yield Markup('<p class="notice" role="note">{}</p>').format(text)
                case _:
                    raise NotImplementedError(node.type)  # no template of ours has it

    def _paragraph(self, node: SyntaxTreeNode) -> Markup:
        text = self._inline(node)
        if text.startswith('<b class="label">Question.'):
            return Markup('<p class="question">{}</p>').format(text)
        return Markup("<p>{}</p>").format(text)

    def _table(self, node: SyntaxTreeNode, caption: SyntaxTreeNode) -> Markup:
        head, *body = node.children  # none, where there are no rows
        return _box(
            "Table",
            Markup(
                "\n<table>\n<caption><span>{}</span></caption>\n"
                "<thead>\n{}\n</thead>\n<tbody>\n{}\n</tbody>\n</table>\n"
            ).format(
                self._caption(caption),
                self._rows(head, "col", "col"),
                Markup("").join(self._rows(rows, "row", None) for rows in body),
            ),
        )

    def _rows(self, node: SyntaxTreeNode, first: str, scope: str | None) -> Markup:
        return Markup("\n").join(
            Markup("<tr>{}</tr>").format(
                Markup("").join(
                    self._cell(cell, scope if index else first)
                    for index, cell in enumerate(row.children)
                )
            )
            for row in node.children
        )

    def _cell(self, node: SyntaxTreeNode, scope: str | None) -> Markup:
        numeric = Markup(' class="numeric"') if "style" in node.attrs else ""
        if scope is None:
            return Markup("<td{}>{}</td>").format(numeric, self._inline(node))
        return Markup('<th scope="{}"{}>{}</th>').format(scope, numeric, self._inline(node))

    def _commands(self, node: SyntaxTreeNode, label: SyntaxTreeNode) -> Markup:
        lines = [
            Markup("<li><code>{}</code></li>").format(line) for line in node.content.splitlines()
        ]
        return Markup('<div class="commands">\n<p>{}</p>\n<ul>\n{}\n</ul>\n</div>').format(
            _text(label).removesuffix(":"), Markup("\n").join(lines)
        )

    def _figure(self, node: SyntaxTreeNode, caption: SyntaxTreeNode) -> Markup:
        image = node.children[0].children[0]
        picture = self._pictures[str(image.attrs["src"])]
        tall = Markup(' class="tall"') if picture.height > picture.width else ""
        shown = Markup('<img{} src="{}" width="{}" height="{}" alt="{}">').format(
            tall, *picture, _text(image)
        )
        return Markup("<figure>\n{}\n<figcaption>{}</figcaption>\n</figure>").format(
            _box("Figure", shown, "card"), self._caption(caption)
        )

    def _heading(self, node: SyntaxTreeNode) -> Heading:
        return Heading(str(node.attrs["id"]), self._inline(node))

    def _caption(self, node: SyntaxTreeNode) -> Markup:
        """A paragraph without the emphasis that is around all of it."""
        [emphasis] = node.children[0].children
        return self._inline(emphasis)

    def _inline(self, node: SyntaxTreeNode) -> Markup:
        """The text of a block."""
        return Markup(_INLINE_MATH.sub(r'<span class="math">\g<0></span>', str(self._pieces(node))))

    def _pieces(self, node: SyntaxTreeNode) -> Markup:
        return Markup("").join(map(self._piece, node.children))

    def _piece(self, node: SyntaxTreeNode) -> Markup:
        match node.type:
            case "paragraph" | "inline":
                return self._pieces(node)
            case "text":
                return escape(node.content)
            case "code_inline":
                return Markup("<code>{}</code>").format(node.content)
            case "math_inline":
                return _math(node.content, "inline")
            case "strong" if _LABEL.fullmatch(_text(node)):
                return Markup('<b class="label">{}</b>').format(self._pieces(node))
            case "strong" | "em":
                return Markup(f"<{node.tag}>{{}}</{node.tag}>").format(self._pieces(node))
            case _:
                raise NotImplementedError(node.type)  # no template of ours has it


def _box(name: str, content: Markup, kind: str = "scroll") -> Markup:
    """What scrolls by itself where it is wider than the page; `name` says what it is."""
    return Markup('<div class="{}" role="group" aria-label="{}" tabindex="0">{}</div>').format(
        kind, name, content
    )


def _math(latex: str, display: str) -> Markup:
    return to_mathml(latex, display) or Markup("<code>{}</code>").format(latex)


def _is_image(node: SyntaxTreeNode) -> bool:
    return node.children[0].children[0].type == "image"


def _is_emphasis(node: SyntaxTreeNode) -> bool:
    return [child.type for child in node.children[0].children] == ["em"]


def _text(node: SyntaxTreeNode) -> str:
    """Text without its marks, on one line."""
    text = "".join(leaf.content for leaf in node.walk() if not leaf.children)
    return " ".join(text.split())
