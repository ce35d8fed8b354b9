"""Which browser prints the page, and what is said where none does."""

import shutil
import sys
from pathlib import Path

import pytest

from midterm_cli.errors import UserError
from midterm_cli.report import pdf

PAGE = "<!DOCTYPE html><title>A page</title><p>text"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "index.html"
    path.write_text(PAGE, encoding="utf-8")
    return path


def install(folder: Path, script: str) -> None:
    """A program that goes by the name of Chromium."""
    program = folder / "chromium"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/bin")
    return folder


def refusal(page: Path, seconds: float = 20) -> str:
    with pytest.raises(UserError) as refused:
        pdf.to_pdf(page, seconds)
    message = str(refused.value)
    assert message.endswith(f"\nopen {page} in a browser and print it to a file")
    assert {path.name for path in page.parent.iterdir()} <= {"index.html", "bin"}
    return message


def test_without_a_browser(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(page.parent))
    assert "--pdf needs Chromium, Chrome or Edge, and none is found: install one" in refusal(page)


def test_a_browser_that_prints_nothing(page: Path, programs: Path) -> None:
    install(programs, "echo started; echo 'no \033[31mroom' >&2; exit 1")
    assert r"chromium printed nothing: no \x1b[31mroom" in refusal(page)
    install(programs, "exit 0")
    assert "chromium printed nothing: it said nothing" in refusal(page)


def test_a_browser_that_cannot_be_started(page: Path, programs: Path) -> None:
    (programs / "chromium").write_bytes(b"\0")
    (programs / "chromium").chmod(0o755)
    assert "chromium cannot be used: Exec format error" in refusal(page)


def test_the_wait_is_bounded(page: Path, programs: Path) -> None:
    install(programs, "exec sleep 60")
    assert "chromium did not finish in 0.2 seconds" in refusal(page, seconds=0.2)


def test_what_was_printed_is_returned(page: Path, programs: Path) -> None:
    install(
        programs,
        'for word; do case $word in --print-to-pdf=*) printf "%s" "$*" > "${word#*=}"; esac; done',
    )
    said = pdf.to_pdf(page).decode()
    assert said.endswith(page.as_uri())
    assert "--host-resolver-rules=MAP * ~NOTFOUND" in said  # no network


@pytest.mark.parametrize(
    ("platform", "variable", "place"),
    [
        ("darwin", "HOME", "Applications/Google Chrome.app/Contents/MacOS/Google Chrome"),
        ("darwin", "HOME", "Applications/Chromium.app/Contents/MacOS/Chromium"),
        ("win32", "PROGRAMFILES", "Google/Chrome/Application/chrome.exe"),
        ("win32", "PROGRAMFILES(X86)", "Microsoft/Edge/Application/msedge.exe"),
        ("win32", "LOCALAPPDATA", "Chromium/Application/chrome.exe"),
    ],
)
def test_where_other_systems_have_it(
    platform: str, variable: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # From Python 3.12 on, which() asks Windows itself.
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv(variable, str(tmp_path))
    assert pdf.browser() is None
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    path.touch()
    assert pdf.browser() == path
