"""What all plots share: two widths, colours that follow the page's scheme, and figures as inline SVG."""

import html
import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Each colour is drawn as a number that nothing else uses, then becomes a variable of the page's style sheet.
INK, SOFT, LINE, PAPER = "#010101", "#010102", "#010103", "#010104"
KIND_COLOURS = {
    "no-cache": "#010105",
    "preset": "#010106",
    "peer": "#010107",
    "sweep": "#010108",
    "file": "#010109",
    "plan": "#01010a",
}
TEXT_PART, HEAD_PART, DECODER_PART, OTHER_PART = "#01010b", "#01010c", "#01010d", "#01010e"
_VARIABLES = {
    INK: "ink",
    SOFT: "soft",
    LINE: "line",
    PAPER: "paper",
    **{colour: f"kind-{kind}" for kind, colour in KIND_COLOURS.items()},
    TEXT_PART: "part-text",
    HEAD_PART: "part-head",
    DECODER_PART: "part-decoder",
    OTHER_PART: "part-other",
}


@dataclass(frozen=True)
class Width:
    """One of the two widths that every plot is drawn in; the page shows the one that fits.

    Args:
        name: "wide" or "narrow".
        points: width of the figure; its height is up to the plot.
        font: size of letters in points.
        letters: most letters of a setting's name beside a row.
    """

    name: str
    points: float
    font: float
    letters: int

    @property
    def narrow(self) -> bool:
        return self.name == "narrow"


WIDE = Width("wide", 800, 10, 30)
NARROW = Width("narrow", 345, 9.5, 17)


@dataclass(frozen=True)
class Plot:
    """A plot in both widths: SVG text, what it shows in words for those who do not see it, and its caption."""

    name: str
    title: str
    wide: str
    narrow: str
    alt: str
    caption: str


def draw_plot(
    name: str,
    title: str,
    draw: Callable[[Figure, Width], None],
    heights: tuple[float, float],
    *,
    alt: str,
    caption: str,
    hints: Mapping[str, str] | None = None,
) -> Plot:
    """Draw a plot in both widths.

    Args:
        name: put before the names inside the SVG; no two plots of a page share it.
        title: heading.
        draw: draws into an empty figure of a width.
        heights: of the wide and the narrow figure, in points.
        alt: what the plot shows, in words.
        caption: text under the plot.
        hints: text shown over the artist of a name (its `gid`).
    """

    def drawn(width: Width, height: float) -> str:
        prefix = f"{name}-{width.name}"
        with _plot_style(width, prefix):
            figure = _new_figure(width, height)
            draw(figure, width)
            return _to_svg(figure, prefix, hints or {})

    wide, narrow = drawn(WIDE, heights[0]), drawn(NARROW, heights[1])
    return Plot(name=name, title=title, wide=wide, narrow=narrow, alt=alt, caption=caption)


@contextmanager
def _plot_style(width: Width, salt: str) -> Iterator[None]:
    """Settings of matplotlib that all plots share; the caller's own are back afterwards."""
    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "text.parse_math": False,
        "font.family": "DejaVu Sans",
        "font.size": width.font,
        "text.color": INK,
        "axes.labelcolor": SOFT,
        "axes.edgecolor": LINE,
        "axes.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": width.font * 1.05,
        "axes.titlelocation": "left",
        "axes.titlecolor": INK,
        "xtick.color": LINE,
        "ytick.color": LINE,
        "xtick.labelcolor": SOFT,
        "ytick.labelcolor": SOFT,
        "grid.color": LINE,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "legend.fontsize": width.font * 0.95,
    }
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the browser has the letter
        yield


def _new_figure(width: Width, height: float) -> Figure:
    """An empty figure; a unit of its SVG is a point, and a pixel of its canvas."""
    figure = Figure(figsize=(width.points / 72, height / 72), dpi=72, layout="constrained", facecolor="none")
    FigureCanvasAgg(figure)
    return figure


def hide_frame(axes: Axes) -> None:
    """No frame and no tick marks, for maps and bars."""
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _to_svg(figure: Figure, prefix: str, hints: Mapping[str, str]) -> str:
    """The figure as SVG to stand inside HTML: no prologue, no date, the prefix before names, the page's colours."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', svg, count=1)
    svg = re.sub(r"font: ((?:[a-z]+ )*)([\d.]+px)[^;\"]*", r"font: \1\2 var(--font)", svg)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\1{prefix}-", svg).replace("xlink:href", "href")
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    for name, text in hints.items():
        opening = f'<g id="{prefix}-{name}">'
        svg = svg.replace(opening, f"{opening}<title>{html.escape(text)}</title>")
    return svg
