"""The page that is made of the Markdown."""

from midterm_cli.report import html
from midterm_cli.report.figures import Picture


def body(text: str, **pictures: Picture) -> str:
    """A part of the page, without its title."""
    page = html.render(html.read(f"# Title\n\nAbstract\n\n## Part\n\n{text}"), pictures)
    return page.partition('<h2 id="part">Part</h2>\n')[2].partition("\n</section>")[0]


def test_a_question_is_set_apart_and_labels_are_labels() -> None:
    assert body("**Question.** Why?") == (
        '<p class="question"><b class="label">Question.</b> Why?</p>'
    )
    assert body("**Answer.** **No.**") == '<p><b class="label">Answer.</b> <strong>No.</strong></p>'


def test_a_notice_is_told_apart_and_read_out() -> None:
    text = "> **Not computed yet.** Make it\nwith `midterm train`"
    assert body(text) == (
        '<p class="notice" role="note"><strong>Not computed yet.</strong> Make it\nwith '
        "<code>midterm train</code></p>"
    )
    assert html.notices(html.read(text)) == ["Not computed yet. Make it with midterm train"]


def test_what_stands_before_a_table_is_its_caption() -> None:
    shown = body("*Of $x$*\n\n| a | b |\n| --- | ---: |\n| `c` | 1 |")
    assert shown.startswith('<div class="scroll" role="group" aria-label="Table" tabindex="0">')
    assert '<caption><span>Of <span class="math"><math display="inline">' in shown
    assert '<tr><th scope="col">a</th><th scope="col" class="numeric">b</th></tr>' in shown
    row = '<tr><th scope="row"><code>c</code></th><td class="numeric">1</td></tr>'
    assert row in shown


def test_what_stands_after_an_image_is_its_caption() -> None:
    shown = body(
        '![A "curve"\nof f\\_T](x.png)\n\n*The curve*', **{"x.png": Picture("data:,", 3, 2)}
    )
    assert '<img src="data:," width="3" height="2" alt="A &#34;curve&#34; of f_T">' in shown
    assert "<figcaption>The curve</figcaption>" in shown


def test_commands_stand_below_what_they_are_for() -> None:
    assert body("Again:\n\n    midterm <x>\n    midterm `y`\n") == (
        '<div class="commands">\n<p>Again</p>\n<ul>\n<li><code>midterm &lt;x&gt;</code></li>\n'
        "<li><code>midterm `y`</code></li>\n</ul>\n</div>"
    )


def test_no_line_break_parts_a_formula_from_its_punctuation() -> None:
    x = '<math display="inline"><mrow><mi>x</mi></mrow></math>'
    assert body("small ($x$), then **$x$:** y") == (
        f'<p>small <span class="math">({x}),</span> then '
        f'<strong><span class="math">{x}:</span></strong> y</p>'
    )


def test_formulas_are_mathml_or_else_code() -> None:
    assert '<div class="scroll formula" role="group" aria-label="Formula"' in body("$$\nx^2\n$$")
    assert '<math display="block">' in body("$$\nx^2\n$$")
    assert "<code>\\frac{</code>" in body("It is $\\frac{$.")


def test_markdown_that_the_report_does_not_use_is_text() -> None:
    text = '<b>a</b> [b](https://example.org) <https://example.org> &amp; ~~c~~ "d"'
    assert body(text) == (
        "<p>&lt;b&gt;a&lt;/b&gt; [b](https://example.org) &lt;https://example.org&gt; &amp;amp; "
        "~~c~~ &#34;d&#34;</p>"
    )


def test_the_contents_name_each_part_and_question() -> None:
    text = "# T\n\nA\n\n## One\n\n### Why?\n\nB\n\n## Two\n\n### Why?\n\nC"
    page = html.render(html.read(text), {})
    links = ['<a href="#one">One</a>', '<a href="#why">Why?</a>', '<a href="#why-1">Why?</a>']
    for link in [*links, '<h3 id="why">Why?</h3>', '<h3 id="why-1">Why?</h3>']:
        assert page.count(link) == 1
