"""The table of all figures: what its columns show, how they sort, and in words what a difference is worth."""

from collections.abc import Callable
from dataclasses import dataclass

from hart.benchmark.report import text as words
from hart.benchmark.report.text import NOT_MEASURED
from hart.benchmark.results import Interval, Results, Setting


@dataclass(frozen=True)
class Cell:
    """What a cell shows, a second line under it, and the number it sorts by (None: last)."""

    text: str
    below: str = ""
    key: float | None = None


@dataclass(frozen=True)
class Row:
    """A setting with its number and its cells in the order of the columns."""

    number: int
    setting: Setting
    cells: list[Cell]


Column = Callable[[Setting], Cell]


def table_columns(results: Results) -> list[str]:
    """Headings, those of number and setting left out; fidelity where the run has it."""
    near = results.settings[0].quality.fidelity is not None
    return [name for name in _COLUMNS if near or name not in _OF_FIDELITY]


def table_rows(results: Results) -> list[Row]:
    """A row per setting; 0 is no-cache."""
    names = table_columns(results)
    rows = [
        Row(number, setting, [_COLUMNS[name](setting) for name in names])
        for number, setting in enumerate(results.settings)
    ]
    for place, name in enumerate(names):
        if name in _AGAINST_NO_CACHE:
            rows[0].cells[place] = Cell("reference")
    return rows


def _speed_up(setting: Setting) -> Cell:
    spread = setting.speed_up
    return Cell(words.times(spread.median), words.quartiles(spread), spread.median)


def _seconds(setting: Setting) -> Cell:
    spread = setting.batch_seconds
    return Cell(words.seconds(spread.median), f"{spread.q1:.3g}{words.TO}{spread.q3:.3g}", spread.median)


def _fidelity_lost(setting: Setting) -> Cell:
    lost = setting.quality.fidelity_lost
    if lost is None:
        return Cell(NOT_MEASURED)
    return Cell(f"{lost.value:.2f} dB", words.loss_limits(lost), lost.value)


def _difference(setting: Setting) -> Cell:
    drop = setting.quality.prompt_drop
    if drop is None:
        return Cell(NOT_MEASURED)
    verdict = "within chance" if words.is_chance(drop) else "lower" if drop.value > 0 else "higher"
    below = f"{verdict} ({words.change_limits(drop)})"
    return Cell(f"{-100 * drop.value + 0.0:+.1f} points", below, -drop.value)


def _measured(interval: Interval | None, digits: int, factor: float = 1.0, unit: str = "") -> Cell:
    if interval is None:
        return Cell(NOT_MEASURED)
    shown = interval.scaled(factor)
    return Cell(f"{shown.value:.{digits}f}{unit}", words.limits(shown, digits), interval.value)


def _psnr(setting: Setting) -> Cell:
    psnr = setting.quality.psnr
    if words.are_same(psnr):
        return Cell(words.SAME_PICTURES, key=psnr.value)
    return _measured(psnr, 1, unit=" dB")


def _frechet(setting: Setting) -> Cell:
    frechet, limits = setting.quality.frechet, setting.quality.frechet_limits
    if frechet is None:
        return Cell(NOT_MEASURED)
    below = "" if limits is None else words.limits(Interval(value=frechet, low=limits[0], high=limits[1]), 2)
    return Cell(f"{frechet:.2f}", below, frechet)


def _operations(setting: Setting) -> Cell:
    saved = setting.operations_saved
    if saved is None:
        return Cell(NOT_MEASURED)
    done = sum(setting.operations.values())
    return Cell(words.percent(saved), f"{done / 1e9:.3g} GFLOPs per batch", saved)


def _memory(setting: Setting) -> Cell:
    memory = setting.memory
    if not memory.peak_bytes:
        return Cell(NOT_MEASURED)
    below = "" if memory.over_no_cache is None else f"{memory.over_no_cache:.3f}{words.TIMES} no-cache"
    return Cell(words.size(memory.peak_bytes), below, memory.peak_bytes)


_OF_FIDELITY = ("Fidelity", "Fidelity lost")
_AGAINST_NO_CACHE = ("Fidelity lost", "Score to no-cache", "PSNR", "SSIM", "Feature distance", "Fréchet distance")


def price(setting: Setting) -> dict[str, Cell]:
    """What a recommended setting costs in quality and memory."""
    first = () if setting.quality.fidelity_lost is None else ("Fidelity lost",)
    return {name: _COLUMNS[name](setting) for name in (*first, "Prompt score", "PSNR", "Peak memory")}


_COLUMNS: dict[str, Column] = {
    "Speed-up": _speed_up,
    "Seconds per batch": _seconds,
    "Fidelity": lambda setting: _measured(setting.quality.fidelity, 2, unit=" dB"),
    "Fidelity lost": _fidelity_lost,
    "Prompt score": lambda setting: _measured(setting.quality.prompt_score, 1, 100, "%"),
    "Score to no-cache": _difference,
    "PSNR": _psnr,
    "SSIM": lambda setting: _measured(setting.quality.ssim, 3),
    "Feature distance": lambda setting: _measured(setting.quality.feature_distance, 3),
    "Fréchet distance": _frechet,
    "Peak memory": _memory,
    "Cache": lambda setting: Cell(words.size(setting.memory.cache_peak_bytes), key=setting.memory.cache_peak_bytes),
    "Hits": lambda setting: Cell(words.percent(setting.hit_rate), key=setting.hit_rate),
    "FLOPs of the blocks saved": lambda setting: Cell(words.percent(setting.flops_saved), key=setting.flops_saved),
    "All FLOPs saved": _operations,
}
