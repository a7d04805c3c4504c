"""The report in a real browser: plots and pictures are there, nothing overflows, nothing complains."""

import html
import json
import re
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="the report is drawn with matplotlib: pip install hart-stage-cache[benchmark]")

from hart.benchmark.report import write_report
from tests.benchmark.report.example import ROWS, example

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=20000",
]
# The page looks at itself in a frame of the width in question, and tells the page around it.
LISTEN = "<script>var problems=[]; addEventListener('error', e => problems.push(e.message || 'error'), true)</script>"
LOOK = """<script>addEventListener("load", () => {
  const shown = [...document.querySelectorAll(".plot svg")].filter(svg => svg.getClientRects().length);
  const sort = [...document.querySelectorAll("thead button")].find(button => button.textContent === "Speed-up");
  sort.click(); sort.click();
  parent.postMessage(JSON.stringify({
    problems, inner: innerWidth, page: document.documentElement.scrollWidth,
    images: [...document.images].map(image => image.naturalWidth),
    plots: shown.map(svg => ({width: svg.getBoundingClientRect().width, texts: svg.querySelectorAll("text").length,
      shapes: svg.querySelectorAll("path, use").length,
      cut: [...svg.querySelectorAll("text")].filter(text => {
        const box = text.getBoundingClientRect(), frame = svg.getBoundingClientRect();
        return box.left < frame.left - 2 || box.right > frame.right + 2;
      }).map(text => text.textContent)})),
    first: document.querySelector("tbody th a").textContent,
    fetched: performance.getEntriesByType("resource").map(entry => entry.name)
      .filter(name => !name.startsWith("data:")),
  }), "*");
});</script>"""
AROUND = """<!DOCTYPE html><title>around</title><pre id="seen"></pre>
<script>addEventListener("message", e => document.getElementById("seen").textContent = e.data)</script>
<iframe src="looking.html" style="width:{width}px;height:900px;border:0"></iframe>"""

NOT_LOOKED_AT = (
    "no Chromium here, so the report was not looked at in a browser: plots, pictures and overflow are unchecked; on "
    "Debian: apt-get install chromium"
)
if BROWSER is None:
    warnings.warn(NOT_LOOKED_AT, stacklevel=1)  # pytest's summary shows it, where a skip is one letter among many

pytestmark = pytest.mark.skipif(BROWSER is None, reason=NOT_LOOKED_AT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("report")
    text = write_report(example(place), place).read_text(encoding="utf-8")
    text = text.replace("<head>", "<head>" + LISTEN, 1).replace("</body>", LOOK + "</body>", 1)
    (place / "looking.html").write_text(text, encoding="utf-8")
    return place


def look(folder: Path, width: int, profile: Path) -> dict:
    """What the page sees of itself at this width."""
    around = folder / f"around-{width}.html"
    around.write_text(AROUND.format(width=width), encoding="utf-8")
    command = [str(BROWSER), *FLAGS, f"--user-data-dir={profile}", "--window-size=1400,1000", "--dump-dom"]
    done = subprocess.run([*command, around.as_uri()], capture_output=True, text=True, timeout=180, check=True)
    assert "CONSOLE" not in done.stderr
    seen = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert seen and seen[1], done.stderr[-2000:]
    return json.loads(html.unescape(seen[1]))


@pytest.mark.parametrize("width", [1280, 390])
def test_the_report_is_whole_in_a_browser(folder, tmp_path, width):
    seen = look(folder, width, tmp_path / "profile")
    assert seen["problems"] == []
    assert seen["fetched"] == []
    assert seen["inner"] == width
    assert seen["page"] <= width
    assert len(seen["images"]) == 6 * len(ROWS) + 6 * (len(ROWS) - 1)
    assert min(seen["images"]) > 0
    assert len(seen["plots"]) == 7
    for plot in seen["plots"]:
        assert width * 0.8 < plot["width"] <= width
        assert plot["texts"] > 10
        assert plot["shapes"] > 10
        assert plot["cut"] == []
    assert seen["first"] == "peer/stop-early-3"
