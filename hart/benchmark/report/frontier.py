"""The frontier: quality against speed-up, with intervals, names, and the line of settings that none beats in both."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from hart.benchmark.report import svg
from hart.benchmark.report.labels import Box, place_labels
from hart.benchmark.report.text import are_same, shorten, times
from hart.benchmark.results import Interval, Results, Setting

SHAPES = {"no-cache": "X", "preset": "o", "peer": "s", "sweep": "^", "file": "D", "plan": "*"}
KIND_NAMES = {
    "no-cache": "no-cache",
    "preset": "presets",
    "peer": "peers",
    "sweep": "sweep",
    "file": "own settings",
    "plan": "planner",
}


@dataclass(frozen=True)
class Point:
    """A setting on the plane: its number in the table, its name, kind, speed-up and quality."""

    number: int
    setting: Setting
    kind: str
    quality: Interval

    @property
    def speed(self) -> float:
        return self.setting.speed_up.median


def pareto(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats in both speed and quality, from slow to fast."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (-point.speed, -point.quality.value)):
        if not front or point.quality.value > front[-1].quality.value:
            front.append(point)
    return front[::-1]


def fidelity_frontier(results: Results) -> svg.Plot | None:
    """Fidelity lost against speed-up, no-cache at 0; None where none was measured."""
    return _frontier(
        results,
        "frontier-fidelity",
        "Fidelity lost against speed-up",
        "fidelity to no-cache's, dB (below 0: lost)",
        lambda setting: setting.quality.fidelity_lost and _negative(setting.quality.fidelity_lost),
    )


def _negative(lost: Interval) -> Interval:
    """What was lost as a change, so that up is better."""
    return Interval(value=0.0 - lost.value, low=0.0 - lost.high, high=0.0 - lost.low)


def score_frontier(results: Results) -> svg.Plot | None:
    """Prompt score against speed-up; None where no score was measured."""
    return _frontier(
        results,
        "frontier-score",
        "Prompt score against speed-up",
        "prompt score, %",
        lambda setting: setting.quality.prompt_score and setting.quality.prompt_score.scaled(100),
    )


def psnr_frontier(results: Results) -> svg.Plot | None:
    """PSNR against speed-up; None where none was measured. No-cache itself has no place there."""
    return _frontier(
        results,
        "frontier-psnr",
        "PSNR against speed-up",
        "PSNR to no-cache, dB",
        lambda setting: None if are_same(setting.quality.psnr) else setting.quality.psnr,
    )


def _frontier(
    results: Results, name: str, title: str, label: str, quality: Callable[[Setting], Interval | None]
) -> svg.Plot | None:
    points = []
    for number, setting in enumerate(results.settings):
        found = quality(setting)
        if found is not None:
            points.append(Point(number, setting, "no-cache" if number == 0 else setting.kind, found))
    if not points:
        return None
    front = ", ".join(
        f"{point.setting.name} ({times(point.speed)}, {point.quality.value:.1f})" for point in pareto(points)
    )
    absent = [setting.name for setting in results.settings[1:] if quality(setting) is None]
    return svg.draw_plot(
        name,
        title,
        lambda figure, width: _draw(figure, width, points, label),
        (470, 380),
        alt=f"{title} of {len(points)} settings. Not beaten in both: {front}.",
        caption=_caption(absent),
        hints={f"point-{point.number}": _hint(point) for point in points},
    )


def _caption(absent: Sequence[str]) -> str:
    text = (
        "Up and to the right is better. Bars are quartiles of the speed-up and the 95% interval of the quality. "
        "The line joins the settings that no other beats in both. Numbers are those of the table."
    )
    if absent:
        text += f" Not in the plot, because not measured or the same pictures as no-cache: {', '.join(absent)}."
    return text


def _draw(figure: Figure, width: svg.Width, points: Sequence[Point], label: str) -> None:
    axes = figure.add_subplot()
    svg.hide_frame(axes)
    axes.grid(True)
    axes.set_axisbelow(True)
    axes.set_xlabel("times as fast as no-cache (median of paired ratios)" if not width.narrow else "speed-up")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(5 if width.narrow else 9))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: times(value)))
    axes.margins(0.08 if width.narrow else 0.06)
    _draw_points(axes, points, width)
    figure.draw_without_rendering()
    _draw_labels(axes, points, width)


def _hint(point: Point) -> str:
    return f"{point.number} {point.setting.name}: {times(point.speed)}, {point.quality.value:.1f}"


def _draw_points(axes: Axes, points: Sequence[Point], width: svg.Width) -> None:
    front = pareto(points)
    axes.plot(
        [point.speed for point in front],
        [point.quality.value for point in front],
        drawstyle="steps-pre",
        color=svg.INK,
        linewidth=1.1,
        alpha=0.7,
        zorder=2,
    )
    for point in points:
        spread, quality, colour = point.setting.speed_up, point.quality, svg.KIND_COLOURS[point.kind]
        axes.hlines(quality.value, spread.q1, spread.q3, color=colour, linewidth=1.2, alpha=0.5, zorder=1)
        axes.vlines(point.speed, quality.low, quality.high, color=colour, linewidth=1.2, alpha=0.3, zorder=1)
    for kind, shape in SHAPES.items():
        chosen = [point for point in points if point.kind == kind]
        for point in chosen:
            axes.plot(
                point.speed,
                point.quality.value,
                shape,
                markersize=10 if shape == "*" else 7,
                color=svg.KIND_COLOURS[kind],
                markeredgecolor=svg.PAPER,
                markeredgewidth=0.7,
                zorder=3,
                gid=f"point-{point.number}",
                label=KIND_NAMES[kind] if point is chosen[0] else None,
            )
    axes.figure.legend(loc="outside upper left", ncols=3 if width.narrow else 6, handletextpad=0.2, columnspacing=1)


def _draw_labels(axes: Axes, points: Sequence[Point], width: svg.Width) -> None:
    """Names beside points; a number where there is no room for the name, and everywhere on the narrow plot."""
    texts = [[str(point.number)] for point in points]
    if not width.narrow:
        texts = [[shorten(point.setting.name, 26), *number] for point, number in zip(points, texts, strict=True)]
    centres = [_pixels(axes, point.speed, point.quality.value) for point in points]
    sizes = [[(0.53 * width.font * len(text) + 3, 1.15 * width.font) for text in choice] for choice in texts]
    bars = [bar for point in points for bar in _bars(axes, point)] + _steps(axes, pareto(points))
    to_data = axes.transData.inverted()
    places = place_labels(centres, sizes, Box(*axes.bbox.extents), bars)
    for point, choice, found in zip(points, texts, places, strict=True):
        if found is None:
            continue
        number, place = found
        if place.leader:
            ends = to_data.transform(place.leader)
            axes.plot(ends[:, 0], ends[:, 1], color=svg.SOFT, linewidth=0.6, alpha=0.7, zorder=2.5)
        x, y = to_data.transform(place.box.centre)
        axes.text(
            x,
            y,
            choice[number],
            ha="center",
            va="center",
            fontsize=width.font * 0.9,
            color=svg.KIND_COLOURS[point.kind],
            zorder=4,
        )


def _steps(axes: Axes, front: Sequence[Point]) -> list[Box]:
    """The straight pieces of the line of the front, in pixels."""
    boxes = []
    for slow, fast in pairwise(front):
        left, top = _pixels(axes, slow.speed, slow.quality.value)
        right, bottom = _pixels(axes, fast.speed, fast.quality.value)
        boxes += [Box(left - 1, bottom, left + 1, top), Box(left, bottom - 1, right, bottom + 1)]
    return boxes


def _pixels(axes: Axes, x: float, y: float) -> tuple[float, float]:
    across, up = axes.transData.transform((x, y))
    return float(across), float(up)


def _bars(axes: Axes, point: Point) -> list[Box]:
    """The two error bars of a point, in pixels."""
    spread, quality = point.setting.speed_up, point.quality
    left, y = _pixels(axes, spread.q1, quality.value)
    right, _ = _pixels(axes, spread.q3, quality.value)
    x, bottom = _pixels(axes, point.speed, quality.low)
    _, top = _pixels(axes, point.speed, quality.high)
    return [Box(left, y - 0.5, right, y + 0.5), Box(x - 0.5, bottom, x + 0.5, top)]
