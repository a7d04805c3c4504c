"""Threshold curves: hit rate, speed-up and score of settings that differ in nothing but the threshold."""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hart.benchmark.report import svg
from hart.benchmark.results import Interval, Results, Setting

COLOURS = [svg.KIND_COLOURS[kind] for kind in ("sweep", "preset", "peer", "plan", "file")]


@dataclass(frozen=True)
class Curve:
    """Settings by rising threshold; all else in their configs is equal."""

    settings: list[Setting]

    @property
    def thresholds(self) -> list[float]:
        return [float(setting.config["threshold"]) for setting in self.settings]


Value = Callable[[Setting], Interval | None]


def threshold_curves(results: Results) -> svg.Plot | None:
    """A curve per group of swept settings; None where nothing was swept over the threshold."""
    curves = find_curves(results.settings)
    if not curves:
        return None
    ends = [threshold for curve in curves for threshold in curve.thresholds]
    return svg.draw_plot(
        "thresholds",
        "What the threshold does",
        lambda figure, width: _draw(figure, width, curves),
        (250, 560),
        alt=f"Hit rate, speed-up and prompt score for thresholds from {min(ends):g} to {max(ends):g}.",
        caption="All else is equal along a line. Bands are quartiles of the speed-up and the score's interval.",
    )


def find_curves(settings: Sequence[Setting]) -> list[Curve]:
    """Groups of at least two swept settings whose configs differ in the threshold alone."""
    groups: dict[str, dict[float, Setting]] = defaultdict(dict)
    for setting in settings:
        threshold = setting.config.get("threshold")
        if setting.kind == "sweep" and isinstance(threshold, int | float):
            rest = {name: value for name, value in setting.config.items() if name != "threshold"}
            groups[json.dumps(rest, sort_keys=True, default=str)][float(threshold)] = setting
    return [Curve([found[key] for key in sorted(found)]) for found in groups.values() if len(found) > 1]


def _hit_rate(setting: Setting) -> Interval:
    return Interval(value=100 * setting.hit_rate, low=100 * setting.hit_rate, high=100 * setting.hit_rate)


def _speed_up(setting: Setting) -> Interval:
    return Interval(value=setting.speed_up.median, low=setting.speed_up.q1, high=setting.speed_up.q3)


def _score(setting: Setting) -> Interval | None:
    score = setting.quality.prompt_score
    return score and score.scaled(100)


PANELS: list[tuple[str, Value]] = [("hit rate, %", _hit_rate), ("speed-up", _speed_up), ("prompt score, %", _score)]


def _draw(figure: Figure, width: svg.Width, curves: Sequence[Curve]) -> None:
    shape = (len(PANELS), 1) if width.narrow else (1, len(PANELS))
    grid = figure.subplots(*shape, squeeze=False)
    for axes, (title, value) in zip(grid.flat, PANELS, strict=True):
        svg.hide_frame(axes)
        axes.grid(True)
        axes.set_title(title)
        for number, curve in enumerate(curves):
            _draw_curve(axes, curve, value, COLOURS[number % len(COLOURS)])
        if not axes.lines:
            axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=svg.INK)
    for axes in grid[-1]:
        axes.set_xlabel("threshold")


def _draw_curve(axes: Axes, curve: Curve, value: Value, colour: str) -> None:
    found = [(at, value(setting)) for at, setting in zip(curve.thresholds, curve.settings, strict=True)]
    known = [(at, interval) for at, interval in found if interval is not None]
    if not known:
        return
    thresholds, intervals = [at for at, _ in known], [interval for _, interval in known]
    low, high = [interval.low for interval in intervals], [interval.high for interval in intervals]
    axes.fill_between(thresholds, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(thresholds, [interval.value for interval in intervals], "-^", color=colour, markersize=6)
