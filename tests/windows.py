"""Windows and inputs, drawn at random, into which they fit."""

from dataclasses import replace

from hypothesis import strategies as st

from midterm_cli.layers.arithmetic import Window

Sizes = tuple[int, int]
Windows = tuple[Window, Window]

windows = st.builds(
    Window,
    kernel_size=st.integers(1, 5),
    stride=st.integers(1, 4),
    padding=st.integers(0, 3),
    dilation=st.integers(1, 3),
)
two_windows = st.tuples(windows, windows)
two_sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))


def fitting_size(window: Window) -> st.SearchStrategy[int]:
    """Of an input along an axis, padded at least as long as the window."""
    least = max(1, window.span - 2 * window.padding)
    return st.integers(least, least + 11)


def fitting_sizes(pair: Windows) -> st.SearchStrategy[Sizes]:
    """Of an input along two axes."""
    return st.tuples(fitting_size(pair[0]), fitting_size(pair[1]))


@st.composite
def poolings(draw: st.DrawFn, *kinds: str) -> tuple[str, list[Window], Sizes]:
    """One of the kinds; windows; and an input into which they fit."""
    kind = draw(st.sampled_from(kinds or ("max", "average")))
    ceil_mode = draw(st.booleans())
    vertical, horizontal = (
        replace(window, ceil_mode=ceil_mode, dilation=1 if kind == "average" else window.dilation)
        for window in draw(two_windows)
    )
    return kind, [vertical, horizontal], draw(fitting_sizes((vertical, horizontal)))
