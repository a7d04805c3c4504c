"""Where the time went: one stacked bar per setting."""

from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hart.benchmark.report import svg
from hart.benchmark.report.text import seconds, shorten
from hart.benchmark.results import Results, Setting

Segments = dict[str, float]
"""Seconds by what they were spent on, in the order in which it happens."""

TEXT, HEAD, DECODER, OTHER = "text", "diffusion head", "decoder", "other"


def time_bars(results: Results) -> svg.Plot:
    """Seconds per batch by stage and part, a bar per setting."""
    named = [(setting.name, segments(setting)) for setting in results.settings]
    dearest = max(named[0][1].items(), key=lambda item: item[1])
    return svg.draw_plot(
        "times",
        "Where the time goes",
        lambda figure, width: _draw(figure, width, named),
        (21 * len(named) + 95, 21 * len(named) + 130),
        alt=f"Stacked bars of seconds per batch. The dearest part of no-cache: {dearest[0]}, {seconds(dearest[1])}.",
        caption=(
            f"Seconds per batch of {results.work.batch_size}, medians. Stages are named by their token count and hold "
            "transformer, sampling and accumulation; the diffusion head, which runs in the last stage, is shown apart."
        ),
    )


def segments(setting: Setting) -> Segments:
    """Seconds of text, every stage, diffusion head, decoder, and what of the whole batch is left."""
    parts = {name: spread.median for name, spread in setting.parts.items()}
    stages = sorted((int(stage), spread.median) for stage, spread in setting.stages.items())
    found: Segments = {TEXT: parts.get("text", 0.0)}
    head = parts.get("diffusion_head", 0.0)
    for stage, taken in stages:
        last = stage == stages[-1][0]
        found[f"stage {stage}"] = max(0.0, taken - head) if last else taken
    found |= {HEAD: head, DECODER: parts.get("decoder", 0.0)}
    rest = setting.batch_seconds.median - sum(found.values())
    if rest > 0.01 * setting.batch_seconds.median:
        found[OTHER] = rest
    return found


def _colours(names: Sequence[str]) -> dict[str, str]:
    """Stages from dark to light along one map; the parts in colours of their own."""
    stages = [name for name in names if name.startswith("stage ")]
    ramp = matplotlib.colormaps["viridis"]
    steps = max(1, len(stages) - 1)
    colours = {name: matplotlib.colors.to_hex(ramp(0.12 + 0.8 * rank / steps)) for rank, name in enumerate(stages)}
    return colours | {TEXT: svg.TEXT_PART, HEAD: svg.HEAD_PART, DECODER: svg.DECODER_PART, OTHER: svg.OTHER_PART}


def _draw(figure: Figure, width: svg.Width, named: Sequence[tuple[str, Segments]]) -> None:
    keys = list(dict.fromkeys(key for _, found in named for key in found))
    axes = figure.add_subplot()
    svg.hide_frame(axes)
    _draw_bars(axes, named, keys)
    axes.set_yticks(range(len(named)), [shorten(name, width.letters) for name, _ in named], color=svg.INK)
    axes.set_ylim(len(named) - 0.4, -0.6)
    axes.margins(x=0.12)
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds per batch")
    figure.legend(
        loc="outside upper left",
        ncols=4 if width.narrow else 7,
        handlelength=0.9,
        columnspacing=0.9,
        handletextpad=0.4,
    )


def _draw_bars(axes: Axes, named: Sequence[tuple[str, Segments]], keys: Sequence[str]) -> None:
    colours, ends = _colours(keys), [0.0] * len(named)
    for key in keys:
        lengths = [found.get(key, 0.0) for _, found in named]
        axes.barh(
            range(len(named)),
            lengths,
            left=ends,
            height=0.72,
            color=colours[key],
            edgecolor=svg.PAPER,
            linewidth=0.5,
            label=key.removeprefix("stage "),
        )
        ends = [end + length for end, length in zip(ends, lengths, strict=True)]
    for row, end in enumerate(ends):
        axes.annotate(f"{end:.3g}", (end, row), (4, 0), textcoords="offset points", va="center", color=svg.INK)
