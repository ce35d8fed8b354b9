"""The page and its twin, from runs: what stands on them, and what cannot get onto them."""

import dataclasses
import html
import itertools
import json
import math
import re
import shlex
import shutil
import statistics
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import browser
import pytest
from answer import Answer
from markdown_it import MarkdownIt
from sample_runs import edit, make_run, pages, small_presets

from midterm_cli.config.presets import experiment_of
from midterm_cli.part3.train import schema as train
from midterm_cli.report import markdown, numerals, pdf, published
from midterm_cli.report.markdown import Form
from midterm_cli.report.runs import PARTS, PRESETS, command, find
from midterm_cli.runner import document
from midterm_cli.text import printable


@pytest.fixture(scope="module", autouse=True)
def presets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with small_presets(tmp_path_factory.mktemp("configs")):
        yield


@pytest.fixture(scope="module")
def all_runs(presets: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of every preset; not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "outputs"
    for preset in PRESETS:
        make_run(preset, folder)
    return folder


@pytest.fixture
def runs(all_runs: Path, tmp_path: Path) -> Path:
    """The same runs, to be changed; pictures and checkpoints left out."""
    ignore = shutil.ignore_patterns("*.png", "*.pt")
    return Path(shutil.copytree(all_runs, tmp_path / "outputs", ignore=ignore))


@pytest.fixture(scope="module")
def report(all_runs: Path) -> tuple[str, str]:
    """The report on all runs, as HTML and as Markdown; its figures empty, to save time."""
    return pages(all_runs)


@pytest.fixture(scope="module")
def page(report: tuple[str, str]) -> str:
    return report[0]


@pytest.fixture(scope="module")
def twin(report: tuple[str, str]) -> str:
    return report[1]


@pytest.fixture(scope="module")
def drawn_page(all_runs: Path) -> str:
    """The HTML with its figures."""
    return pages(all_runs, with_figures=True)[0]


READER = MarkdownIt("commonmark", {"html": True, "xhtmlOut": False}).enable("table")
_VOID = {"meta", "link", "img", "br"}


class Outline(HTMLParser):
    """Reads a page, and refuses one whose tags do not match."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in {tag}"
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self) -> str:
        return " ".join("".join(self.text).split())


def shown_by_others(twin: str) -> str:
    """The Markdown as a reader of CommonMark with tables shows it, who takes HTML for HTML."""
    return str(READER.render(twin))


def without_images(page: str) -> str:
    return re.sub(r"data:image/[^\"]*", "", page)


# ---- the whole report


def test_each_preset_finds_its_own_run(all_runs: Path) -> None:
    found = find([all_runs])
    assert tuple(found.answers) == PRESETS
    assert not found.unusable
    for preset, answer in found.answers.items():
        assert answer.folder.name == (
            "default" if preset == experiment_of(preset) else preset.replace("/", "-")
        )
        assert answer.changes == []


def test_every_question_is_answered(page: str, twin: str) -> None:
    assert 'class="notice"' not in page
    assert "\n>" not in twin


def test_the_page_is_well_formed(page: str) -> None:
    outline = Outline(page)
    assert page.startswith("<!DOCTYPE html>")
    assert outline.all("html") == [{"lang": "en"}]
    assert len(outline.all("h1")) == 1
    assert len(outline.all("title")) == 1
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch("h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))

    anchors = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert not [anchor for anchor, times in Counter(anchors).items() if times > 1]
    links = [link["href"] or "" for link in outline.all("a")]
    assert len(links) > 20
    assert {link.removeprefix("#") for link in links} <= set(anchors)


def test_images_and_tables_are_described(page: str) -> None:
    outline = Outline(page)
    images = outline.all("img")
    assert len(images) >= 12
    for image in images:
        assert int(image["width"] or 0) > 100
        assert int(image["height"] or 0) > 100
        assert len(image["alt"] or "") > 20
    tables = outline.all("table")
    assert len(tables) == len(outline.all("caption")) > 20
    for box in outline.all("div"):
        if "tabindex" in box:  # what can be focused says what it is
            assert box["role"] == "group"
            assert box["aria-label"] in ("Table", "Formula", "Figure")
    headings = outline.all("th")
    assert {heading["scope"] for heading in headings} == {"col", "row"}


def test_the_page_asks_nobody_for_anything(page: str) -> None:
    outline = Outline(page)
    tags = {tag for tag, _ in outline.tags}
    assert not tags & {"script", "iframe", "object", "embed", "form", "base", "svg"}
    for _, attributes in outline.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name != "style"
            if name in ("src", "href"):
                assert re.match("#|data:", value or "")
    assert "//" not in without_images(page)
    assert "url(" not in page
    assert "@import" not in page
    [policy] = [meta for meta in outline.all("meta") if "http-equiv" in meta]
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_mathematics_is_mathml(page: str, twin: str) -> None:
    outline = Outline(page)
    assert len(outline.all("math")) > 80
    assert len(outline.all("mfrac")) > 10
    derivation = r"\frac{dy}{dx} &= \left(1 + \frac{1}{1 + u}\right) \cdot \frac{du}{dx}"
    assert derivation in twin
    assert "\\frac" not in outline.words
    assert "$" not in outline.words


def test_the_answers_stand_on_both_forms(page: str, twin: str) -> None:
    for words in (Outline(page).words, twin):
        assert "16 × 6 × 6" in words
        assert "576" in words
        assert "2.53492754899111" in words
        assert "9.24847224944833" in words
        assert "2.5349 and 9.2485, in float32" in words
        for preset in PRESETS:
            assert command(preset) in words


def test_the_twin_has_the_same_words(page: str, twin: str) -> None:
    """But for mathematics, the contents and the heading of the abstract."""
    without_math = re.sub(r"\$\$.+?\$\$|\$[^$]+\$", "", twin, flags=re.DOTALL)
    body = re.sub("<nav.*</nav>|<math.*?</math>", "", page, flags=re.DOTALL)
    shown, others = (
        re.findall(r"\w+", Outline(text.replace("<", " <")).words.split(markdown.TITLE)[-1])
        for text in (body, shown_by_others(without_math))
    )
    assert shown == ["Abstract", *others]


def test_the_twin_shows_the_figures_of_the_run_folders(twin: str, all_runs: Path) -> None:
    paths = re.findall(r"!\[[^]]+\]\(([^)]+)\)", twin)
    assert len(paths) >= 12
    for path in paths:
        assert (all_runs / "report" / path).resolve().is_file()


def test_the_same_runs_give_the_same_bytes(runs: Path) -> None:
    keep(runs, "autodiff", "pool_min")
    assert pages(runs, with_figures=True) == pages(runs, with_figures=True)


# ---- where its numbers come from


def test_a_number_changes_where_its_run_changes_and_nowhere_else(runs: Path) -> None:
    keep(runs, "conv", "module", "train")
    old: dict[str, Any] = {}

    def change_gain(document: Any) -> None:
        [gain] = [
            entry["gain"]
            for entry in document["results"]["comparison"]
            if entry["metric"] == "test_accuracy"
        ]
        old["gain"], gain["estimate"] = gain["estimate"], 0.77123

    def change_values(document: Any) -> None:
        old["values"], document["results"]["values"] = document["results"]["values"], 577_123

    def change_time(document: Any) -> None:
        provenance = document["provenance"]
        old["time"], provenance["wall_time_s"] = provenance["wall_time_s"], 12345.678

    before, twin_before = map(without_images, pages(runs))
    edit(runs / "train" / "default", change_gain)
    edit(runs / "conv" / "default", change_values)
    edit(runs / "module" / "default", change_time)
    gain = numerals.fixed(old["gain"])
    for shown, original in zip(pages(runs), (before, twin_before), strict=True):
        assert [shown.count(text) for text in ("577,123", "12345.678")] == [2, 1]
        restored = without_images(shown).replace("577,123", str(old["values"]))
        restored = restored.replace("12345.678", str(old["time"]))
        # Square brackets are escaped in Markdown.
        assert restored != original
        restored = re.sub(r"0\.771( \\?\[)", rf"{gain}\1", restored)
        assert restored == original


def keep(runs: Path, *experiments: str) -> None:
    """Remove the runs of the other experiments, so that a page is made sooner."""
    for folder in runs.iterdir():
        if folder.name not in experiments:
            shutil.rmtree(folder)


def test_the_published_log_is_compared_with_both_networks(page: str) -> None:
    """The small runs are nothing like the published one, but what is compared is there."""
    words = Outline(page).words
    for published_figure in ("0.560", "0.273", "13.9"):
        [row] = re.findall(rf"{published_figure} ?([\d.]+) \[(−?[\d.]+), ([\d.]+)\]", words)
        mean, low, high = (float(number.replace("−", "-")) for number in row)
        assert mean - low == pytest.approx(high - mean, abs=1.1e-3)
        assert low < mean
    assert re.search(r"(\d) of 10 lie where .* and (\d) of 10 where", words)
    assert "92 figures. Of these, 89 lie in the range of ten seeds of the linear network" in words


def test_the_early_epochs_of_the_average_are_told(page: str, all_runs: Path) -> None:
    """With the numbers of the run, epoch by epoch, for both networks."""
    words = Outline(page).words
    for folder, network in (("default", "ReLU"), ("reference-train", "linear")):
        results = document.read(all_runs / "train" / folder).results
        assert isinstance(results, train.Results)
        for epoch in (1, 2):
            losses = {
                (row.seed, row.gamma): row.train_loss
                for row in results.history
                if row.epoch == epoch and row.train_loss is not None
            }
            gains = [losses[seed, None] - losses[seed, 1e-3] for seed in range(3)]
            mean = numerals.fixed(statistics.fmean(gains))
            assert re.search(rf"{network} ?{epoch} ?{mean} \[", words), (network, epoch)
    assert words.count("is better in all four metrics") == 2


def test_how_a_run_is_repeated_from_a_folder_of_any_name(runs: Path, tmp_path: Path) -> None:
    """The line is taken by bash for the file that is meant."""
    keep(runs, "conv")
    for name in (
        "plain",
        "two words",
        "it's",
        "a\x1b[31m\nb",
        "\u202e",
        "\udcff",
        "b\\n'\x07",
    ):
        folder = runs / "conv" / name
        shutil.copytree(runs / "conv" / "default", folder)
        (folder / "config.yaml").write_text(name.encode("utf-8", "replace").decode(), "utf-8")
        [answer] = find([runs]).answers.values()
        moved = dataclasses.replace(answer, folder=folder)
        quoted = moved.repeat.removeprefix("midterm repeat ")
        assert printable(quoted) == quoted
        done = subprocess.run(
            ["bash", "-c", f"cat -- {quoted}/config.yaml"], capture_output=True, check=True
        )
        assert done.stdout == (folder / "config.yaml").read_bytes()
        shutil.rmtree(folder)


# ---- what is missing, other than asked for, or damaged


def test_without_runs_the_page_names_all_commands(tmp_path: Path) -> None:
    shown, twin = pages(tmp_path)
    words = Outline(shown).words
    for preset in PRESETS:
        assert f"Not computed yet. Make it with {command(preset)}" in words
        assert f"> **Not computed yet.** Make it with `{command(preset)}`" in twin
    assert "img" not in {tag for tag, _ in Outline(shown).tags}


def test_a_stand_in_is_announced(tmp_path: Path) -> None:
    run = make_run("module", tmp_path, "seed=7", "dtype=float32")
    words = Outline(pages(tmp_path)[0]).words
    assert "stands in for the exercise's: " in words
    assert "seed = 7, not 0" in words
    assert "dtype = float32, not float64" in words
    assert str(run) in words


def test_other_data_are_announced_loudly(runs: Path) -> None:
    keep(runs, "conv_stride")
    assert "Not the exercise's data" not in pages(runs)[0]
    edit(runs / "conv_stride" / "default", lambda document: document["config"].update(dataset="x"))
    shown, twin = pages(runs)
    assert "<strong>Not the exercise&#39;s data:</strong> these" in shown
    assert "> **Not the exercise's data:** these" in twin


def test_a_single_seed_is_no_damage(tmp_path: Path) -> None:
    for preset in ("train", "reference/train"):
        make_run(preset, tmp_path, "num_seeds=1", "epochs=25")
    words = Outline(pages(tmp_path)[0]).words
    assert "Damaged" not in words
    assert "(one seed: no interval)" in words
    assert "where one more run would lie takes two seeds to tell" in words


def test_a_failed_run_is_announced(runs: Path) -> None:
    keep(runs, "softt")
    edit(runs / "softt" / "default", lambda document: document.update(failed=True))
    assert "This run failed:" in Outline(pages(runs)[0]).words


def test_a_diverged_run_is_no_damage(tmp_path: Path) -> None:
    with small_presets(tmp_path / "configs", train={"lr": 1e6, "epochs": 2}):
        for preset in ("train", "reference/train"):
            make_run(preset, tmp_path / "outputs")
        shown, twin = pages(tmp_path / "outputs")
    words = Outline(shown).words
    assert "Not read" not in words
    assert "This run failed:" in words
    assert "Not shown: a claim with a dash below; a network that diverged has no number" in words
    assert "| lower train loss, by | – | cannot tell | – | cannot tell |" in twin
    assert "the test accuracy is – raw and – averaged" in twin.replace("\n", " ")
    assert "where one more run would lie takes two seeds to tell, none of which has" in words


def test_a_run_without_a_figure_is_no_damage(tmp_path: Path) -> None:
    with small_presets(tmp_path / "configs", pool={"size": 600}):
        make_run("pool", tmp_path / "outputs")
        shown, twin = pages(tmp_path / "outputs")
    assert "![" not in twin
    assert "PyTorch agrees" in Outline(shown).words


def test_an_unreadable_run_is_named(runs: Path) -> None:
    keep(runs, "softt")
    (runs / "softt" / "default" / "metrics.json").write_text('{"', encoding="utf-8")
    words = Outline(pages(runs)[0]).words
    assert f"Not read: {runs}/softt/default: {runs}/softt/default/metrics.json is damaged" in words
    assert f"Make it with {command('softt')}" in words


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ({"f": "<b>2.5</b>"}, "results.f must be a number"),
        ({"latex": 3}, "results.latex must be text, got 3"),
        ({"points": [{}]}, "results.points[0].x is missing"),
        ({"max_relative_error": "0"}, "results.max_relative_error must be a number"),
    ],
)
def test_a_damaged_run_is_named_with_its_key_and_spares_the_rest(
    runs: Path, damage: dict[str, Any], reason: str
) -> None:
    keep(runs, "autodiff", "conv")
    run = runs / "autodiff" / "default"
    edit(run, lambda document: document["results"].update(damage))
    words = Outline(pages(runs)[0]).words
    assert f"Not read: {run}: {run}/metrics.json is damaged: {reason}" in words
    assert "16 × 6 × 6" in words


def test_a_mistake_of_ours_is_not_told_as_damage(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistake(*arguments: object) -> None:
        raise TypeError("an argument too many")

    keep(runs, "module")
    monkeypatch.setattr(published, "through_inverse", mistake)
    with pytest.raises(TypeError, match="an argument too many"):
        pages(runs)


# ---- what a run may hold


HOSTILE = (
    "<script>alert(1)</script><img src=https://example.org/x onerror=alert(1)>"
    "\x1b[31m\x00\u202e'\"&`$x$](javascript:alert(1))|"
)


def test_text_in_a_run_is_text_on_the_page(runs: Path) -> None:
    """Every free text is hostile: of provenance and results, the dataset, the folder's name."""
    keep(runs, "autodiff", "conv", "conv_stack", "conv_stride", "pool")
    for file in runs.glob("*/*/metrics.json"):
        edit(file.parent, poison)
        name = file.parent.name + HOSTILE.replace("/", "").replace("\0", "")
        file.parent.rename(file.parent.with_name(name))
    shown, twin = pages(runs)
    outline = Outline(shown)
    assert "script" not in {tag for tag, _ in outline.tags}
    assert all((image["src"] or "").startswith("data:image/") for image in outline.all("img"))
    assert not [name for _, attributes in outline.tags for name in attributes if name[:2] == "on"]
    assert outline.words.count("<script>alert(1)</script>") > 50
    assert "Not read" not in outline.words
    for text in (shown, twin):
        assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", text)
    assert r"\x1b[31m\x00\u202e" in outline.words
    read = shown_by_others(twin)
    assert "<script" not in read
    assert "<a " not in read
    assert 'src="https' not in read


def poison(document: Any) -> None:
    texts = ("version", "command", "python", "torch", "device", "dtype")
    document["provenance"].update(dict.fromkeys(texts, HOSTILE))
    config, results = document["config"], document["results"]
    if "dataset" in config:
        config["dataset"] = printable(HOSTILE)  # a config refuses what is not
    for key in ("latex", "counted"):
        if key in results:
            results[key] += HOSTILE
    results["steps"] = [step + HOSTILE for step in results.get("steps", [])]
    if "torch" in results:
        results["torch"]["how"] = HOSTILE
    if "derivation" in results:
        for term in results["derivation"]:
            term["formula"] = HOSTILE


# ---- the command


def test_the_command_writes_both_and_prints_the_page(
    folder: Path, midterm: Callable[..., Answer]
) -> None:
    run = make_run("conv", folder / "outputs")
    edit(run, lambda document: document["config"].pop("dilation"))
    answer = midterm("report")
    assert answer.code == 0
    assert answer.out == "outputs/report/index.html\n"
    assert f"Warning: Not computed yet. Make it with {command('train')}" in answer.err
    assert "conv shape" not in answer.err
    assert "has no dilation: completed from the packaged default" in answer.err
    page = Path("outputs/report/index.html")
    first = page.read_bytes()
    assert run.name in first.decode()
    assert "![" in Path("outputs/report/report.md").read_text(encoding="utf-8")
    assert {path.name for path in page.parent.iterdir()} == {"index.html", "report.md"}

    assert midterm("report").code == 0
    assert page.read_bytes() == first


def test_the_command_takes_other_folders(folder: Path, midterm: Callable[..., Answer]) -> None:
    make_run("conv", folder / "mine")
    assert midterm("report", "--runs", "mine").out == "mine/report/index.html\n"
    answer = midterm("report", "--runs", "mine", "--output", "page")
    assert answer.out == "page/index.html\n"
    assert "(../mine/conv/default/conv.png)" in Path("page/report.md").read_text(encoding="utf-8")


def test_mistakes_are_told_in_a_line_or_two(folder: Path, midterm: Callable[..., Answer]) -> None:
    answer = midterm("report")
    assert (answer.code, answer.out) == (2, "")
    assert "no folder outputs: make runs first" in answer.err

    (folder / "runs").mkdir()
    (folder / "file").write_text("", encoding="utf-8")
    answer = midterm("report", "--runs", "runs", "--output", "file")
    assert (answer.code, answer.out) == (2, "")
    assert "cannot write file" in answer.err
    assert (folder / "file").read_text(encoding="utf-8") == ""


def test_files_are_refused_as_the_folder(folder: Path, midterm: Callable[..., Answer]) -> None:
    make_run("conv", folder / "outputs")
    for name in ("x.pdf", "x.HTML", "x.md"):
        answer = midterm("report", "--output", name)
        assert (answer.code, answer.out) == (2, "")
        assert "--output names a folder" in answer.err
        assert not Path(name).exists()
    Path("x.pdf").mkdir()
    assert midterm("report", "--output", "x.pdf").out == "x.pdf/index.html\n"


def test_parts_that_there_are_not(folder: Path, midterm: Callable[..., Answer]) -> None:
    (folder / "outputs").mkdir()
    for parts in ("5", "0", "1;3", "", "1-3", "²"):
        answer = midterm("report", "--only", parts)
        assert (answer.code, answer.out) == (2, "")
        assert "--only must name parts, from 1 to 4, such as 1,3" in answer.err
    assert midterm("report", "--only", "3, 1,1").code == 0


def test_runs_are_named_in_any_place(folder: Path, midterm: Callable[..., Answer]) -> None:
    one = make_run("conv", folder / "here")
    make_run("pool", folder / "there" / "deep")
    answer = midterm("report", one, "there", "--only", "4", "--author", "A. <b>", "--title", "*T*")
    assert (answer.code, answer.out) == (0, "outputs/report/index.html\n")
    page = Path("outputs/report/index.html").read_text(encoding="utf-8")
    assert "<h1>*T*</h1>" in page
    assert '<p class="author">A. &lt;b&gt;</p>' in page
    words = Outline(page).words
    assert "16 × 6 × 6" in words
    assert "Not computed yet. Make it with midterm pool cost" not in words
    assert "Not computed yet. Make it with midterm pool min" in words
    assert midterm("report", "there").out == "there/report/index.html\n"


def test_the_printed_command_repeats_a_run_from_another_folder(
    folder: Path, midterm: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in (
        ["module", "grad", "--x", "[3, 4]", "--matrix", "[[2, 1], [1, -1]]", "-o", "a b/mine"],
        ["conv", "shape", "--size", "9", "-o", "my/conv"],
    ):
        assert midterm(*words).code == 0
    assert midterm("report", "a b", "my", "-o", "page").code == 0
    page = Path("page/index.html").read_text(encoding="utf-8")
    printed = [
        html.unescape(line) for line in re.findall("<code>(midterm repeat .*?)</code>", page)
    ]
    assert len(printed) == 2
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    for line in printed:
        program, *arguments = shlex.split(line)
        answer = midterm(*arguments)
        assert (program, answer.code) == ("midterm", 0)
        assert "the same" in answer.out


# ---- what it is like


def test_only_some_parts(all_runs: Path, twin: str) -> None:
    text = pages(all_runs, form=Form(parts=[1, 3]))[1]
    headings = re.findall("^## ([^ ]* [^ .]*)", text, re.MULTILINE)
    assert headings == ["Part 1", "Part 3", "The published", "Where the"]
    assert text.count("midterm softt plot") == text.count("midterm conv") == 0
    assert "**Part 4.**" not in text
    assert "**Part 4.**" in twin
    assert "The inverse goes stale" not in text
    assert "The network was linear" in text
    assert "The published" not in pages(all_runs, form=Form(parts=[1], short=True))[1]


def test_a_short_report_has_answers_and_figures(report: tuple[str, str], all_runs: Path) -> None:
    _, whole = report
    shown, short = pages(all_runs, form=Form(short=True))
    assert short.count("**Answer.**") == whole.count("**Answer.**") > 8
    assert "**Derivation.**" not in short
    assert re.findall(r"\(.*png\)", short) == re.findall(r"\(.*png\)", whole)
    assert "9.24847224944833" in short
    assert len(short) < 0.5 * len(whole)
    assert '<body class="short">' in shown


def test_runs_of_ones_own_follow_with_what_differs(tmp_path: Path) -> None:
    make_run("softt", tmp_path)
    run = make_run("autodiff", tmp_path / "mine", "expression=sin(x)**2", "x=[1, 2]")
    edit(run, lambda document: document["provenance"].update(command="midterm autodiff --x 1"))
    shown, text = pages(tmp_path, with_figures=True)
    others = text.partition("## Other runs")[2]
    assert "`expression = sin(x)**2, not u = x**3" in others
    assert "`x = [1.0, 2.0], not 1.432`" in others
    # f = sin², f' = sin 2x at 2
    assert "0.8268218104318" in others
    assert "-0.756802495307928" in others
    assert "    midterm autodiff --x 1\n" in others
    assert "mine/autodiff/default/autodiff.png)" in others
    assert Outline(shown).words.count("Other runs") == 2


def test_parameters_of_ones_own_answer_and_are_said_beside_the_answer(tmp_path: Path) -> None:
    run = make_run("autodiff", tmp_path / "mine", "x=2")
    text = pages(tmp_path)[1]
    [part] = re.findall("## Part 1.*?## ", text.replace("### ", ""), re.DOTALL)
    assert f"> This run stands in for the exercise's: `x = 2.0, not 1.432` (`{run}`)" in part
    # By hand: u = 8, y = 10 + ln 9
    y = 10 + math.log(9)
    slope = (1 / (2 * math.sqrt(y)) + math.cos(y)) * 12 * (1 + 1 / 9)
    assert f"$f(2) = {math.sqrt(y) + math.sin(y):.15g}$ and $f'(2) = {slope:.12g}" in part
    # Published figures at 1.432 are no comparison.
    assert "**Not shown:** the publication is compared with runs of its parameters" in text


def test_one_network_is_answered_for_without_the_other(tmp_path: Path) -> None:
    make_run("train", tmp_path, "lr=0.002", "ema_gamma=[0.01, 0.1]")
    text = " ".join(pages(tmp_path)[1].split())
    assert re.search(r"Of the 8 claims in this, \*\*\d hold for the ReLU network\*\*\. ", text)
    assert "Make it with `midterm train --config reference/train`" in text


def test_means_over_fewer_seeds_say_so(runs: Path) -> None:
    keep(runs, "train")
    assert "Means over" not in pages(runs)[0]
    for run in (runs / "train").iterdir():
        edit(run, lose_a_seed)
    words = Outline(pages(runs)[0]).words
    assert words.count("Means over 2 of 3 seeds: the others have no finite value") > 2


def lose_a_seed(document: Any) -> None:
    for weights in document["results"]["final"]["weights"]:
        for metric in ("train_loss", "train_accuracy", "test_loss", "test_accuracy"):
            weights[metric]["total"] = 2


def test_what_is_very_long_is_cut_and_says_so(tmp_path: Path) -> None:
    run = make_run("conv", tmp_path)
    edit(run, lambda document: document["results"].update(steps=["x" * 1000] * 100))
    text = pages(tmp_path)[1]
    assert text.count("x" * 300 + "…") == 40
    assert "x" * 301 not in text
    assert re.search(r"\d+ more lines: see metrics.json", text)


def test_of_very_many_runs_some_are_shown_and_all_are_counted(tmp_path: Path) -> None:
    first = make_run("conv", tmp_path)
    document = json.loads((first / "metrics.json").read_bytes())
    for size in range(40, 40 + markdown.MOST_LISTED + 5):
        document["config"]["size"] = size
        (tmp_path / f"{size}").mkdir()
        (tmp_path / f"{size}" / "metrics.json").write_text(json.dumps(document), encoding="utf-8")
    text = pages(tmp_path)[1]
    others = text.partition("## Other runs")[2].partition("## Where")[0]
    assert others.count("\n### ") == markdown.MOST_SHOWN
    listed = re.findall(r"^\| `.*conv", others, re.MULTILINE)
    assert len(listed) == markdown.MOST_LISTED - markdown.MOST_SHOWN
    assert "And 5 more, which are not listed." in others


# ---- in a browser

needs_chromium = pytest.mark.skipif(browser.CHROMIUM is None, reason="Chromium is not installed")


@pytest.mark.browser
@needs_chromium
@pytest.mark.parametrize("width", [375, 1280])
def test_a_browser_shows_all_of_it(drawn_page: str, tmp_path: Path, width: int) -> None:
    measured = browser.measure(drawn_page, width, tmp_path)
    assert measured.width == width
    assert measured.scroll_width == width
    assert measured.requests == []
    assert measured.console == []
    assert measured.images >= 12
    assert measured.empty_images == []
    assert measured.cut_images == []
    assert measured.small_images == []
    assert measured.formulas > 80
    assert measured.flat_formulas == []


@pytest.mark.browser
@needs_chromium
@pytest.mark.parametrize(
    ("part", "short"),
    [
        (part, short)
        if (part, short) == (4, False)
        else pytest.param(part, short, marks=pytest.mark.slow)
        for part, short in itertools.product(PARTS, (False, True))
    ],
)
def test_a_part_is_printed_on_two_pages(
    part: int, short: bool, all_runs: Path, drawn_page: str, tmp_path: Path
) -> None:
    page = drawn_page
    if short:
        page = pages(all_runs, with_figures=True, form=Form(short=True))[0]
    head, rest = page.split("<header>")
    [section] = re.findall(rf'<section aria-labelledby="part-{part}-.*?</section>', rest, re.DOTALL)
    alone = tmp_path / "part.html"
    alone.write_text(f"{head}<main>{section}</main></body></html>", encoding="utf-8")
    assert 1 <= num_pages(pdf.to_pdf(alone)) <= 2


def num_pages(printed: bytes) -> int:
    assert printed.startswith(b"%PDF-")
    return len(re.findall(rb"/Type\s*/Page\b", printed))


@pytest.mark.browser
@needs_chromium
def test_a_pdf_is_printed_beside_the_page(folder: Path, midterm: Callable[..., Answer]) -> None:
    make_run("conv", folder / "outputs")
    answer = midterm("report", "--only", "4", "--short", "--pdf")
    assert (answer.code, answer.out) == (
        0,
        "outputs/report/index.html\noutputs/report/report.pdf\n",
    )
    assert num_pages(Path("outputs/report/report.pdf").read_bytes()) == 1
    files = {path.name for path in Path("outputs/report").iterdir()}
    assert files == {"index.html", "report.md", "report.pdf"}


@pytest.mark.browser
@needs_chromium
def test_a_browser_sees_what_is_wrong(drawn_page: str, tmp_path: Path) -> None:
    """The test above fails where there is something to be found."""
    wrong = (
        '<p style="width: 600px">wide</p><math style="display: none"><mi>x</mi></math>'
        '<img src="data:image/png;base64,AAAA" alt="empty">'
        '<div><img src="data:image/svg+xml,<svg xmlns=%22http:%2f%2fwww.w3.org%2f2000%2fsvg%22/>"'
        ' width="300" height="9" style="width: 200px" alt="small"></div>'
        '<div style="overflow: hidden"><img src="data:image/svg+xml,<svg '
        'xmlns=%22http:%2f%2fwww.w3.org%2f2000%2fsvg%22/>" width="900" height="9" alt="cut"></div>'
        '<link rel="stylesheet" href="http://127.0.0.1:9/x.css">'
        "<script>throw Error()</script>"
    )
    measured = browser.measure(drawn_page.replace("</main>", f"{wrong}</main>"), 375, tmp_path)
    assert measured.scroll_width > 375
    assert measured.empty_images == ["empty"]
    assert measured.cut_images == ["cut"]
    assert measured.small_images == ["small"]
    assert len(measured.flat_formulas) == 1
    assert len(measured.console) == 2  # the policy forbids the style sheet and the script

    allowed = re.sub("<meta http-equiv[^>]*>", "", drawn_page).replace("</main>", f"{wrong}</main>")
    measured = browser.measure(allowed, 375, tmp_path)
    assert measured.requests == ["http://127.0.0.1:9/x.css"]
    assert "Uncaught Error" in " ".join(measured.console)
