"""The evaluation as a Markdown page."""

from collections.abc import Mapping
from typing import Any

from hart.evaluation.statistics import Table

WORDS = {
    "psnr": "PSNR in the box, dB",
    "ssim": "SSIM in the box",
    "sharpness": "sharpness",
    "picture_psnr": "PSNR of the picture, dB",
    "picture_ssim": "SSIM of the picture",
}


def markdown_report(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """Write what `python -m hart.evaluation` found.

    Args:
        reports: by split, what `evaluate_model` returned, and under `costs`, where it was measured, what
            `compare_settings` returned.

    Returns:
        A table of scores, and one of costs per split; every figure with its 95% interval.
    """
    lines = ["## How well the pictures show what was asked for", "", _painted(next(iter(reports.values()))), ""]
    lines += _scores(reports)
    for split, report in reports.items():
        if "costs" in report:
            lines += ["", f"## What fidelity costs, {split} captions, {report['cost_pictures']} pictures", ""]
            lines += _costs(report["costs"])
    return "\n".join(lines) + "\n"


def _painted(report: Mapping[str, Any]) -> str:
    """How the pictures of the first table were painted, in a sentence."""
    guidance, left_out = report["guidance_scale"], report.get("left_out")
    setting = f"cache {report['cache']}" if report.get("cache") else "no cache"
    return (
        f"Painted with {'the default guidance' if guidance is None else f'guidance {guidance:g}'}, "
        f"{f'without the last {left_out} stages' if left_out else setting}, seeds from {report['picture_seed']}; "
        f"captions drawn with seed {report['seed']}. Figures are means with 95% intervals."
    )


def _scores(reports: Mapping[str, Mapping[str, Any]]) -> list[str]:
    measured = [name for name in WORDS if name in next(iter(reports.values()))["fidelity"]]
    head = ["split", "pictures (captions)", "prompt score", *(WORDS[name] for name in measured)]
    rows = []
    for split, report in reports.items():
        score = report["table"]["overall"]
        shares = f"{score['share']:.1%} ({score['low']:.1%} to {score['high']:.1%})"
        figures = [_figure(report["fidelity"], name) for name in measured]
        rows.append([split, f"{report['num_pictures']} ({report['num_captions']})", shares, *figures])
    return _table(head, rows)


def _costs(costs: Mapping[str, Mapping[str, Table]]) -> list[str]:
    measured = [name for name in WORDS if name in next(iter(costs.values()))["fidelity"]]
    head = ["setting", *(WORDS[name] for name in measured), "cost of PSNR in the box, dB"]
    rows = [
        [
            name,
            *(_figure(found["fidelity"], measure) for measure in measured),
            _figure(found["cost"], "psnr", signed=True) if "cost" in found else "",
        ]
        for name, found in costs.items()
    ]
    return _table(head, rows)


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _figure(table: Table, name: str, signed: bool = False) -> str:
    row, sign = table[name], "+" if signed else ""
    value = f"{row['value']:{sign}.2f}"
    return f"{value} ± {row['high'] - row['value']:.2f}" if "high" in row else value
