"""The figures of a run as CSV and as a Markdown table."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from hart.benchmark.report.text import figure
from hart.benchmark.results import Interval, Results, Setting, Spread
from hart.evaluation import ATTRIBUTES
from hart.utils.files import write_whole

Row = dict[str, Any]


def csv_rows(results: Results) -> list[Row]:
    """A row per setting: every figure in a column of its own, empty where it was not measured."""
    rows = []
    for setting in results.settings:
        row: Row = {"setting": setting.name, "kind": setting.kind, "run_tag": setting.run_tag}
        row |= _spread("batch_seconds", setting.batch_seconds) | _spread("speed_up", setting.speed_up)
        row |= {"hit_rate": setting.hit_rate, "flops_computed": setting.flops_computed}
        row |= {"flops_saved": setting.flops_saved, "operations": sum(setting.operations.values()) or None}
        row |= {"operations_saved": setting.operations_saved}
        for part, seconds in setting.parts.items():
            row[f"{part}_seconds"] = seconds.median
        for stage, seconds in setting.stages.items():
            row[f"stage_{stage}_seconds"] = seconds.median
        memory, quality = setting.memory, setting.quality
        row |= {"memory_method": memory.method, "peak_bytes": memory.peak_bytes or None}
        row |= {"peak_over_no_cache": memory.over_no_cache, "cache_peak_bytes": memory.cache_peak_bytes}
        for name in ("fidelity", "fidelity_lost", "prompt_score", "prompt_drop", "psnr", "ssim", "feature_distance"):
            row |= _interval(name, getattr(quality, name))
        low, high = quality.frechet_limits or (None, None)
        row |= {"frechet": quality.frechet, "frechet_low": low, "frechet_high": high}
        row |= {f"shows_{name}": quality.attributes.get(name) for name in ATTRIBUTES}
        rows.append(row | {"config": json.dumps(setting.config)})
    return rows


def write_csv(results: Results, path: Path) -> Path:
    """Write `csv_rows` with a head line; the path."""
    rows = csv_rows(results)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue())
    return path


def markdown_table(results: Results) -> str:
    """The table that people read: a line per setting, fastest first below no-cache."""
    first, *others = results.settings
    near = first.quality.fidelity is not None
    head = "| setting | speed-up (quartiles) "
    head += "| fidelity, dB (95%) | fidelity lost, dB (95%) " if near else ""
    head += "| prompt score (95%) | drop, points (95%) | PSNR, dB | SSIM "
    head += "| operations saved: blocks | all | peak over no-cache |"
    lines = [head, "|" + "---|" * (head.count("|") - 1)]
    for setting in [first, *sorted(others, key=lambda one: -one.speed_up.median)]:
        lines.append("| " + " | ".join(_cells(setting, near)) + " |")
    return "\n".join(lines)


def _cells(setting: Setting, near: bool) -> list[str]:
    """Cells of a line; those of fidelity where the run has it."""
    quality, speed, peak = setting.quality, setting.speed_up, setting.memory.over_no_cache
    fidelity = [_words(quality.fidelity, 1, "", 2), _words(quality.fidelity_lost, 1, "", 2)]
    return [
        setting.name,
        f"{speed.median:.2f}x ({speed.q1:.2f} to {speed.q3:.2f})",
        *(fidelity if near else ()),
        _words(quality.prompt_score, 100, "%", 0),
        _words(quality.prompt_drop, 100, "", 1),
        _words(quality.psnr, 1, "", 1),
        _words(quality.ssim, 1, "", 3),
        f"{setting.flops_saved:.0%}",
        "" if setting.operations_saved is None else f"{setting.operations_saved:.0%}",
        "" if peak is None else f"{peak:.3f}",
    ]


def _words(interval: Interval | None, factor: float, unit: str, digits: int) -> str:
    return "" if interval is None else figure(interval.scaled(factor), digits, unit)


def _spread(name: str, spread: Spread) -> Row:
    return {f"{name}_median": spread.median, f"{name}_q1": spread.q1, f"{name}_q3": spread.q3}


def _interval(name: str, interval: Interval | None) -> Row:
    if interval is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
