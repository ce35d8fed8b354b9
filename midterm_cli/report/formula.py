"""LaTeX as MathML, and only as MathML: what a run holds for a formula is not trusted."""

from __future__ import annotations

from xml.etree import ElementTree

from latex2mathml import exceptions
from latex2mathml.converter import convert
from markupsafe import Markup

_NAMESPACE = "{http://www.w3.org/1998/Math/MathML}"
_ELEMENTS = {
    "math", "mrow", "mi", "mn", "mo", "mtext", "mspace", "mfrac", "msqrt", "mroot", "mstyle",
    "msub", "msup", "msubsup", "munder", "mover", "munderover", "mtable", "mtr", "mtd"
}  # fmt: skip
_ATTRIBUTES = {
    "display", "displaystyle", "scriptlevel", "mathvariant", "stretchy", "fence", "separator",
    "form", "accent", "accentunder", "movablelimits", "largeop", "symmetric", "linethickness",
    "minsize", "maxsize", "lspace", "rspace", "width", "columnalign", "rowspacing",
    "columnspacing"
}  # fmt: skip
_MAX_LENGTH = 20_000
# What latex2mathml raises on text that is not LaTeX: errors of its own, which have no base class in
# common, and those of Python that its parser runs into.
_NOT_LATEX: tuple[type[Exception], ...] = (
    *(error for error in vars(exceptions).values() if isinstance(error, type)),
    ArithmeticError,
    LookupError,
    RecursionError,
    StopIteration,
    TypeError,
    ValueError,
)


def to_mathml(latex: str, display: str) -> Markup | None:
    r"""Convert LaTeX to MathML that can do nothing but be laid out.

    latex2mathml passes text through unescaped, and turns \href, \style and \class into attributes:
    so its output is parsed, and taken only if all of it is mathematics.

    Args:
        latex: in the mathematics of latex2mathml; no dollar signs around it.
        display: block or inline.

    Returns:
        A <math> element without a namespace, as HTML wants it; None where there is none.
    """
    if len(latex) > _MAX_LENGTH:
        return None
    try:
        converted = convert(latex, display=display)
    except _NOT_LATEX:
        return None
    try:
        root = ElementTree.fromstring(converted)
        for element in root.iter():
            element.tag = _checked_tag(element)
    except (ElementTree.ParseError, ValueError):
        return None
    for element in list(root.iter()):
        _lower_prime(element)
    return Markup(ElementTree.tostring(root, encoding="unicode", method="html"))


def _checked_tag(element: ElementTree.Element) -> str:
    """The name of an element without its namespace.

    Raises:
        ValueError: it is not one of mathematics, or has an attribute that is not.
    """
    namespace, _, name = element.tag.rpartition("}")
    if namespace + "}" != _NAMESPACE or name not in _ELEMENTS:
        raise ValueError(f"not an element of mathematics: {element.tag}")
    if not element.attrib.keys() <= _ATTRIBUTES:
        raise ValueError(f"not attributes of mathematics: {element.attrib}")
    return name


def _lower_prime(element: ElementTree.Element) -> None:
    """Turn a prime that is a superscript into an operator that follows.

    Fonts, those for mathematics too, draw U+2032 raised: a superscript raises it a second time.
    """
    if element.tag not in ("msup", "msubsup") or element[-1].text not in ("′", "″"):
        return
    *base, prime = element
    if element.tag == "msubsup":
        with_index = ElementTree.Element("msub")
        with_index.extend(base)
        base = [with_index]
    prime.tag, element.tag = "mo", "mrow"
    element[:] = [*base, prime]
