"""The page as a PDF, printed by a browser of the Chromium family, without the network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from midterm_cli.errors import UserError
from midterm_cli.text import printable, shortened

_NAMES = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"),
    *("microsoft-edge", "microsoft-edge-stable", "msedge", "brave-browser"),
)
# Below the folders of applications of macOS, and of programs of Windows.
_ON_MACOS = (
    "Google Chrome.app/Contents/MacOS/Google Chrome",
    "Chromium.app/Contents/MacOS/Chromium",
    "Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    "Brave Browser.app/Contents/MacOS/Brave Browser",
)
_ON_WINDOWS = (
    "Google/Chrome/Application/chrome.exe",
    "Chromium/Application/chrome.exe",
    "Microsoft/Edge/Application/msedge.exe",
    "BraveSoftware/Brave-Browser/Application/brave.exe",
)
_MAX_SAID = 200


def browser() -> Path | None:
    """The first browser of the Chromium family that there is."""
    return next((path for path in _candidates() if path.is_file()), None)


def _candidates() -> Iterator[Path]:
    yield from (Path(path) for path in map(shutil.which, _NAMES) if path)
    if sys.platform == "darwin":
        folders = [Path("/Applications"), Path.home() / "Applications"]
        yield from (folder / name for folder in folders for name in _ON_MACOS)
    elif sys.platform == "win32":
        variables = ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA")
        folders = [Path(os.environ[it]) for it in variables if it in os.environ]
        yield from (folder / name for folder in folders for name in _ON_WINDOWS)


def to_pdf(page: Path, seconds: float = 120) -> bytes:
    """Print an HTML file to a PDF.

    Args:
        page: the file.
        seconds: to wait for the browser.

    Raises:
        UserError: there is no browser for it, or it does not print, or not in time.
    """
    way_out = f"open {printable(page)} in a browser and print it to a file"
    found = browser()
    if found is None:
        raise UserError(
            "--pdf needs Chromium, Chrome or Edge, and none is found: install one, or leave out "
            f"--pdf\n{way_out}"
        )
    # Beside the page: a browser in a sandbox of its own may see no other folder.
    with tempfile.TemporaryDirectory(
        dir=page.parent, prefix="pdf-", ignore_cleanup_errors=True
    ) as folder:
        printed = Path(folder, "report.pdf").resolve()
        log = Path(folder, "log.txt")
        try:
            with log.open("wb") as said:
                subprocess.run(
                    _command(found, page, printed),
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    timeout=seconds,
                    check=False,
                )
            return printed.read_bytes()
        except subprocess.TimeoutExpired:
            problem = f"did not finish in {seconds:g} seconds"
        except FileNotFoundError:
            problem = f"printed nothing: {_last_line(log)}"
        except OSError as error:
            problem = f"cannot be used: {error.strerror or error}"
    raise UserError(f"{printable(found)} {problem}\n{way_out}")


def _command(found: Path, page: Path, printed: Path) -> list[str]:
    as_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return [
        str(found),
        "--headless",
        *(["--no-sandbox"] if as_root else []),  # root has no sandbox in Chromium
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-extensions",
        "--disable-background-networking",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--no-first-run",
        "--no-pdf-header-footer",
        f"--user-data-dir={printed.parent / 'profile'}",
        f"--print-to-pdf={printed}",
        page.resolve().as_uri(),
    ]


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    said = [printable(line.strip()) for line in lines if line.strip()]
    return shortened(said[-1], _MAX_SAID) if said else "it said nothing"
