"""What headless Chromium makes of a page, measured from a frame as wide as a phone or a desk."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

# The page itself may run no script (and its policy allows none), so a page around it measures it.
_FRAME = """<!DOCTYPE html>
<html><body>
<iframe id="frame" src="PAGE" style="width: WIDTHpx; height: 800px; border: 0"></iframe>
<pre id="found"></pre>
<script>
onload = () => {
  const { document: page, performance } = frame.contentWindow;
  const root = page.documentElement;
  const flat = (element) => {
    const box = element.getBoundingClientRect();
    return !(box.width > 0 && box.height > 0);
  };
  const measured = {
    width: root.clientWidth,
    scroll_width: root.scrollWidth,
    requests: performance.getEntriesByType("resource").map((entry) => entry.name)
      .filter((name) => !name.startsWith("data:")),
    images: page.images.length,
    empty_images: [...page.images].filter((image) => !(image.naturalWidth > 0) || flat(image))
      .map((image) => image.alt),
    cut_images: [...page.images].filter((image) => {
      const card = image.parentElement;
      return image.scrollWidth > card.clientWidth &&
        !/auto|scroll/.test(frame.contentWindow.getComputedStyle(card).overflowX);
    }).map((image) => image.alt),
    small_images: [...page.images]
      .filter((image) => image.clientWidth < 0.7 * image.getAttribute("width"))
      .map((image) => image.alt),
    formulas: page.querySelectorAll("math").length,
    flat_formulas: [...page.querySelectorAll("math")].filter(flat).map((math) => math.outerHTML),
  };
  found.textContent = encodeURIComponent(JSON.stringify(measured));
};
</script>
</body></html>
"""


@dataclass(frozen=True)
class Measured:
    """What a page is like in a browser.

    Attributes:
        width: of the frame, in CSS pixels.
        scroll_width: of the page; more than `width` if it scrolls sideways.
        requests: addresses asked for beside the page's own.
        images: how many there are.
        empty_images: alternative texts of those that show nothing.
        cut_images: alternative texts of those that do not fit where nothing scrolls.
        small_images: of those shown at less than 0.7 of their size, whose letters of 10 points
            are then smaller than those of a footnote.
        formulas: how many there are.
        flat_formulas: those that are not laid out.
        console: messages on the console.
    """

    width: int
    scroll_width: int
    requests: list[str]
    images: int
    empty_images: list[str]
    cut_images: list[str]
    small_images: list[str]
    formulas: int
    flat_formulas: list[str]
    console: list[str]


def measure(page: str, width: int, folder: Path) -> Measured:
    """Show a page in a frame and measure it.

    Args:
        page: its HTML.
        width: of the frame, in CSS pixels.
        folder: to work in.
    """
    assert CHROMIUM is not None
    (folder / "page.html").write_text(page, encoding="utf-8")
    frame = _FRAME.replace("PAGE", "page.html").replace("WIDTH", str(width))
    (folder / "frame.html").write_text(frame, encoding="utf-8")
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",  # it refuses to run as root otherwise
        "--disable-gpu",
        "--hide-scrollbars",
        "--disable-dev-shm-usage",
        "--allow-file-access-from-files",  # so that the frame may look into the page
        f"--user-data-dir={folder / 'profile'}",
        "--enable-logging=stderr",
        "--virtual-time-budget=10000",
        "--dump-dom",
        (folder / "frame.html").as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    match = re.search(r'<pre id="found">(.+?)</pre>', done.stdout, re.DOTALL)
    assert match, done.stderr
    measured: dict[str, Any] = json.loads(unquote(match[1]))
    console = re.findall(r":CONSOLE[:(]\d+\)?\] (.*)", done.stderr)
    return Measured(**measured, console=console)
