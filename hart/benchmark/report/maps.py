"""Heat maps: similarities by layer and stage, operations computed and hits by setting and stage."""

import math
from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from hart.benchmark.report import svg
from hart.benchmark.report.text import TIMES, shorten
from hart.benchmark.results import Results, Similarity

BRANCHES = {"attn": "attention", "mlp": "MLP"}
CELL = 22.0
"""Height of a row, in points."""

Row = list[float | None]


def similarity_maps(results: Results) -> svg.Plot | None:
    """True similarity of every layer's output to its last stage's, per branch; None where none was measured."""
    similarity = results.similarity
    if similarity is None or not similarity.table:
        return None
    tables = {BRANCHES.get(name, name): rows for name, rows in similarity.table.items()}
    scale = _scale(similarity)
    labels = [str(layer) for layer in range(max(len(rows) for rows in tables.values()))]
    return svg.draw_plot(
        "similarity",
        "What could be reused",
        lambda figure, width: _draw(
            figure, width, tables, labels, similarity.stages, scale, ("layer", similarity.metric)
        ),
        _heights(tables, labels),
        alt=f"Heat maps of {similarity.metric} by layer and stage for {' and '.join(tables)}. {_range(similarity)}",
        caption=(
            f"Similarity ({similarity.metric}) of what a layer computes at a stage to what reuse would put there. "
            f"Higher can be reused at a lower price. {_range(similarity)} Crossed cells were not measured."
        ),
    )


def computed_map(results: Results) -> svg.Plot | None:
    """Share of the blocks' operations that were computed, by setting and stage; None where nothing counted them."""
    chosen = [setting for setting in results.settings if setting.computed]
    if not chosen:
        return None
    stages = [side * side for side in results.work.patch_nums]
    table: dict[str, list[Row]] = {
        "operations computed": [[setting.computed.get(str(stage)) for stage in stages] for setting in chosen]
    }
    names = [setting.name for setting in chosen]
    return svg.draw_plot(
        "computed",
        "What was computed",
        lambda figure, width: _draw(
            figure, width, table, names, stages, Normalize(0, 1), ("", "share of no-cache's operations")
        ),
        _heights(table, names),
        alt=f"Heat map of the share of operations computed, by stage, for {len(chosen)} settings: {', '.join(names)}.",
        caption=(
            "Share of the transformer blocks' operations at each stage that a setting computed, of those of no-cache: "
            "what is missing was reused, left out, or run without guidance."
        ),
    )


def hit_maps(results: Results) -> svg.Plot | None:
    """Share of a branch's layers that did not compute, by setting and skipped stage; None where nothing was skipped."""
    chosen = [setting for setting in results.settings if any(setting.hits.values())]
    if not chosen:
        return None
    skipped = {int(stage) for setting in chosen for by_stage in setting.hits.values() for stage in by_stage}
    stages, names = sorted(skipped), [setting.name for setting in chosen]
    tables: dict[str, list[Row]] = {
        words: [[setting.hits.get(branch, {}).get(str(stage)) for stage in stages] for setting in chosen]
        for branch, words in BRANCHES.items()
    }
    return svg.draw_plot(
        "hits",
        "Where the cache hit",
        lambda figure, width: _draw(figure, width, tables, names, stages, Normalize(0, 1), ("", "share of layers")),
        _heights(tables, names),
        alt=f"Heat maps of hits by skipped stage, attention and MLP, for {len(chosen)} settings: {', '.join(names)}.",
        caption=(
            "Share of the layers whose branch did not compute all tokens of a stage, over all pictures: the decision, "
            "not the tokens; what a hit saves is in the map before. Crossed: the setting does not skip the stage."
        ),
    )


def _scale(similarity: Similarity) -> Normalize:
    values = _values(similarity)
    return Normalize(min(values, default=0.0), max(values, default=1.0))


def _values(similarity: Similarity) -> list[float]:
    cells = [cell for rows in similarity.table.values() for row in rows for cell in row]
    return [cell for cell in cells if cell is not None and math.isfinite(cell)]


def _range(similarity: Similarity) -> str:
    values = _values(similarity)
    return f"Values from {min(values):.2f} to {max(values):.2f}." if values else "Nothing was measured."


def _heights(tables: dict[str, list[Row]], names: Sequence[str]) -> tuple[float, float]:
    one = CELL * len(names) + 60
    return one + 55, one * len(tables) + 55


def _draw(
    figure: Figure,
    width: svg.Width,
    tables: dict[str, list[Row]],
    names: Sequence[str],
    stages: Sequence[int],
    scale: Normalize,
    labels: tuple[str, str],
) -> None:
    """Maps side by side, one under the other on the narrow plot; `labels` are of the rows and of the colours."""
    count = len(tables)
    colours = matplotlib.colormaps["viridis"]
    shape = (count, 1) if width.narrow else (1, count)
    grid = figure.subplots(*shape, squeeze=False, sharey=not width.narrow)
    for axes, (title, rows) in zip(grid.flat, tables.items(), strict=True):
        axes.set_title(title)
        _draw_map(axes, rows, scale, colours)
        axes.set_xticks([column + 0.5 for column in range(len(stages))], [str(stage) for stage in stages])
        axes.set_yticks(
            [row + 0.5 for row in range(len(names))], [shorten(name, width.letters) for name in names], color=svg.INK
        )
        axes.set_ylabel(labels[0] if axes in grid[:, 0] else "")
        axes.tick_params(axis="x", labelsize=width.font * 0.85)
    for axes in grid[-1]:
        axes.set_xlabel("stage, by its tokens")
    shades = matplotlib.cm.ScalarMappable(scale, colours)
    bar = figure.colorbar(shades, ax=grid, location="bottom", aspect=40, fraction=0.03, shrink=0.6, label=labels[1])
    if bar.solids is not None:
        bar.solids.set_rasterized(False)  # else a picture inside the SVG
        bar.solids.set_edgecolor("face")  # else gaps between the shades
    bar.outline.set_visible(False)


def _draw_map(axes: Axes, rows: Sequence[Row], scale: Normalize, colours: Colormap) -> None:
    """Cells with their numbers; a cross where there is none."""
    svg.hide_frame(axes)
    for row, cells in enumerate(rows):
        for column, value in enumerate(cells):
            if value is None or not math.isfinite(value):
                _draw_cell(axes, row, column, "none", TIMES, svg.SOFT)
                continue
            shade = float(scale(value))
            dark = shade < 0.55
            if value == 0:
                _draw_cell(axes, row, column, "none", "0", svg.SOFT)
                continue
            text = f"{value:.2f}".replace("0.", ".").replace("1.00", "1")
            _draw_cell(
                axes, row, column, matplotlib.colors.to_hex(colours(shade)), text, "#ffffff" if dark else "#000000"
            )
    axes.set_xlim(0, max(map(len, rows), default=1))
    axes.set_ylim(len(rows), 0)


def _draw_cell(axes: Axes, row: int, column: int, fill: str, text: str, colour: str) -> None:
    axes.add_patch(matplotlib.patches.Rectangle((column, row), 1, 1, facecolor=fill, edgecolor=svg.PAPER, linewidth=1))
    axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=colour, fontsize=7.5)
