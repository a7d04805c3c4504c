"""Write the measured tables of all documents and the frontier's plot from the recorded runs.

`python benchmarks/guide_tables.py`. A test compares the tables with the documents, so that no figure there can differ
from its run.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hart.benchmark.report.exported_tables import markdown_table
from hart.benchmark.report.frontier import psnr_frontier
from hart.benchmark.results import Results

RUNS = Path(__file__).parent / "runs"
ROOT = Path(__file__).parents[1]
DOCUMENTS = (ROOT / "README.md", ROOT / "README_ENHANCED_CACHING.md", ROOT / "docs" / "results.md")
PLOT = Path(__file__).parents[1] / "docs" / "frontier.svg"
REPORT_STYLE = Path(__file__).parents[1] / "hart" / "benchmark" / "report" / "assets" / "report.css"
PIXELS_PER_PLACE = 16
EXPONENTS = ("seconds_exponent", "peak_gib_exponent")
EMBEDDED = "embedded.json"
LOOKS = {
    "no-cache": "the reference",
    "conservative-cache": "as sharp",
    "original-cache": "visibly softer",
    "ultra-fast": "a preview",
}
EXPECTED = {
    "no-cache": "1x",
    "high-quality": "",
    "conservative-cache": "1.2x",
    "production-balanced": "",
    "original-cache": "1.5x",
    "memory-efficient": "",
    "aggressive-cache": "2x",
    "ultra-fast": "3x",
}
SPEED_RUNS = {
    "12 layers, width 512, ten stages": "mid-ten.json",
    "12 layers, width 512, 14 stages": "mid-14.json",
    "released size, 14 stages": "released.json",
    "the same, another machine": "released-more.json",
}


def tables() -> Iterator[tuple[str, str]]:
    """Name and Markdown of every table, in the order of the documents."""
    yield "summary", summary_table()
    yield "expected and measured", expected_table()
    yield "fidelity", fidelity_table()
    yield "quality and speed", _quality_table(EMBEDDED)
    yield "estimators", estimator_table()
    yield "metrics", metric_table()
    yield "study", _quality_table("study.json")
    yield "late", _quality_table("late.json")
    yield "speed", speed_table()
    yield "scaling", scaling_table()
    yield "selectors", selector_table()


def _quality_table(name: str) -> str:
    return markdown_table(Results.from_json(RUNS / name))


def _cells_by_setting() -> dict[str, list[str]]:
    """Cells of the embedded model's table, after the name: speed-up, score, drop, PSNR, SSIM and so on."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in _quality_table(EMBEDDED).splitlines()[2:]]
    return {row[0]: row[1:] for row in rows}


def summary_table() -> str:
    """Four settings: speed, fidelity and look."""
    cells = _cells_by_setting()
    lines = ["| setting | speed (quartiles) | fidelity, PSNR in dB (95%) | look |", "|---|---|---|---|"]
    lines += [
        f"| `{name}` | {cells[name][0]} | {cells[name][3] or 'identical'} | {look} |" for name, look in LOOKS.items()
    ]
    return "\n".join(lines)


def expected_table() -> str:
    """Speed-up of every preset by design, beside what was measured."""
    cells = _cells_by_setting()
    heads = "| preset | expected (design) | measured speed-up (quartiles) | drop, points (95%) | PSNR, dB |"
    lines = [heads, "|---|---|---|---|---|"]
    for name, expected in EXPECTED.items():
        speed, _, drop, psnr = cells[name][:4]
        lines.append(f"| `{name}` | {expected} | {speed} | {drop} | {psnr} |")
    return "\n".join(lines)


def fidelity_table() -> str:
    """What presets, and leaving out late stages, cost in PSNR to the truth."""
    settings = json.loads((RUNS / "fidelity-presets.json").read_text(encoding="utf-8"))["settings"]
    lines = ["| setting | PSNR to the truth, dB | SSIM | cost in dB (95%) |", "|---|---|---|---|"]
    for name, found in settings.items():
        psnr, ssim = (found["fidelity"][measure]["value"] for measure in ("psnr", "ssim"))
        cost = found["cost"]["psnr"] if "cost" in found else None
        price = f"{cost['value']:.2f} ({cost['low']:.2f} to {cost['high']:.2f})" if cost else ""
        lines.append(f"| {name} | {psnr:.2f} | {ssim:.2f} | {price} |")
    return "\n".join(lines)


def speed_table() -> str:
    """Speed-up of every setting on random weights, a column a model."""
    runs = {title: Results.from_json(RUNS / name) for title, name in SPEED_RUNS.items()}
    lines = ["| setting | " + " | ".join(runs) + " |", "|---" * (len(runs) + 1) + "|"]
    names = dict.fromkeys(setting.name for run in runs.values() for setting in run.settings)
    for name in names:
        found = [next((s for s in run.settings if s.name == name), None) for run in runs.values()]
        cells = ["" if s is None else f"{s.speed_up.median:.2f}x" for s in found]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    seconds = [f"{run.settings[0].batch_seconds.median / run.work.batch_size:.2f} s" for run in runs.values()]
    ceilings = [f"{ceiling(run):.2f}x" for run in runs.values()]
    lines.append("| seconds per picture without cache | " + " | ".join(seconds) + " |")
    lines.append("| if the blocks took no time | " + " | ".join(ceilings) + " |")
    return "\n".join(lines)


def ceiling(run: Results) -> float:
    """Speed-up that no cost of the blocks at all would give."""
    plain = run.settings[0]
    return plain.batch_seconds.median / (plain.batch_seconds.median - plain.parts["transformer"].median)


def scaling_table() -> str:
    """Seconds, speed-up and peak memory of every setting as pictures grow, and how they grow with the tokens."""
    found = json.loads((RUNS / "scaling.json").read_text())
    sides = [PIXELS_PER_PLACE * run["patch_nums"][-1] for run in found["runs"]]
    heads = [f"{side} px, {run['tokens']:,} tokens" for side, run in zip(sides, found["runs"], strict=True)]
    lines = ["| setting | " + " | ".join(heads) + " | seconds grow with | memory grows with |"]
    lines.append("|---" * (len(heads) + 3) + "|")
    for setting in found["settings"]:
        points = {point["tokens"]: point for point in setting["points"]}
        cells = [_scaling_cell(points.get(run["tokens"])) for run in found["runs"]]
        powers = ["" if setting[name] is None else f"tokens^{setting[name]}" for name in EXPONENTS]
        lines.append(f"| {setting['name']} | " + " | ".join(cells + powers) + " |")
    return "\n".join(lines)


def _scaling_cell(point: dict[str, Any] | None) -> str:
    if point is None:
        return ""
    peak = "memory not measured" if point["peak_gib"] is None else f"{point['peak_gib']:.2f} GiB"
    return f"{point['seconds']:.2f} s, {point['speed_up']:.2f}x, {peak}"


def selector_table() -> str:
    """What was run of the last stage, and how near the pictures stay."""
    found = json.loads((RUNS / "selectors.json").read_text())["found"]
    lines = ["| tokens picked by | left out | run | PSNR, dB |", "|---|---|---|---|"]
    for one in found:
        left_out = "half" if one["budget"] is None else f"{one['budget']:.0%} of importance"
        lines.append(f"| {one['selector']} | {left_out} | {one['share']:.0%} | {one['psnr']:.1f} |")
    return "\n".join(lines)


def estimator_table() -> str:
    """Rank correlation of every estimate with the true similarity, best first."""
    found = json.loads((RUNS / "estimators.json").read_text())["spearman"]
    lines = ["| estimate | over everything | over prompts alone |", "|---|---|---|"]
    for name, value in sorted(found.items(), key=lambda item: -item[1]["all"]):
        lines.append(f"| {name} | {value['all']:.2f} | {value['prompts']:.2f} |")
    return "\n".join(lines)


def metric_table() -> str:
    """Rank correlation of every metric with the damage that reuse of one branch does."""
    found = json.loads((RUNS / "estimators.json").read_text())["damage"]
    groups = list(next(iter(found.values())))
    lines = ["| metric | " + " | ".join(groups) + " |", "|---" * (len(groups) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(f"{v[g]:.2f}" for g in groups) + " |" for name, v in found.items()]
    return "\n".join(lines)


def frontier_svg(results: Results) -> str:
    """The report's own plot of PSNR against speed-up, with its light colours inside, as a picture by itself."""
    plot = psnr_frontier(results)
    assert plot is not None
    style = re.search(r":root \{.*?\}", REPORT_STYLE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert style is not None
    background = "svg { background: var(--paper); }"
    head, _, rest = plot.wide.partition(">")
    head = head.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return f"{head}><style>{style[0]} {background}</style>{rest}\n"


def filled(document: str) -> str:
    """The document with every table between its marks."""
    for title, table in tables():
        marked = rf"(<!-- table: {re.escape(title)} -->\n).*?(<!-- end -->)"
        document = re.sub(
            marked, lambda found, table=table: f"{found[1]}\n{table}\n\n{found[2]}", document, flags=re.DOTALL
        )
    return document


if __name__ == "__main__":
    for path in DOCUMENTS:
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
    PLOT.write_text(frontier_svg(Results.from_json(RUNS / EMBEDDED)), encoding="utf-8")
    print(f"wrote {[path.name for path in DOCUMENTS]} and {PLOT}")
