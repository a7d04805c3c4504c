"""Seconds and memory as pictures grow: `python benchmarks/scaling.py A.json B.json C.json --output_dir DIR`.

Reads `results.json` of runs on different pyramids, best painted with random weights and `--speed_only`, and writes
`scaling.png` and `scaling.json`: seconds per picture and peak memory against tokens, a line per setting.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hart.benchmark.report.against import unlike_runs
from hart.benchmark.results import Results
from hart.utils.files import write_whole

Points = list[dict[str, Any]]
PANELS = {"seconds": "seconds per picture", "peak_gib": "peak memory, GiB"}


def num_tokens(results: Results) -> int:
    """Tokens of all stages of one picture."""
    return sum(side * side for side in results.work.patch_nums)


def scaling(runs: Sequence[Results]) -> dict[str, list[dict[str, Any]]]:
    """Points by setting, from few tokens to many; settings that only one run measured are left out.

    Raises:
        ValueError: fewer than two runs, two of the same pyramid, or no setting that two of them share.
    """
    pyramids = [num_tokens(run) for run in runs]
    if len(runs) < 2 or len(set(pyramids)) < len(runs):
        raise ValueError(f"runs paint {pyramids} tokens; allowed are at least two runs, each of another pyramid.")
    found: dict[str, Points] = {}
    for run in sorted(runs, key=num_tokens):
        for setting in run.settings:
            found.setdefault(setting.name, []).append(_point(run, setting.name))
    shared = {name: points for name, points in found.items() if len(points) > 1}
    if not shared:
        raise ValueError(f"the runs share no setting; measured are {', '.join(found)}.")
    return shared


def _point(run: Results, name: str) -> dict[str, Any]:
    setting, work = run.setting(name), run.work
    seconds = setting.batch_seconds.median / min(work.batch_size, work.num_pictures)
    peak = setting.memory.peak_bytes
    return {
        "tokens": num_tokens(run),
        "seconds": round(seconds, 4),
        "speed_up": round(setting.speed_up.median, 3),
        "peak_gib": round(peak / 2**30, 3) if peak else None,
    }


def exponent(points: Points, figure: str) -> float | None:
    """The power of the tokens that a figure grows with, by least squares; None where it was not measured."""
    known = [(math.log(point["tokens"]), math.log(point[figure])) for point in points if point[figure]]
    if len(known) < 2:
        return None
    mean_x, mean_y = (sum(values) / len(known) for values in zip(*known, strict=True))
    return round(sum((x - mean_x) * (y - mean_y) for x, y in known) / sum((x - mean_x) ** 2 for x, _ in known), 2)


def report(runs: Sequence[Results]) -> dict[str, Any]:
    """All that `scaling.json` holds."""
    return {
        "machine": runs[0].machine.model_dump(),
        "runs": [
            {"tokens": num_tokens(run), "patch_nums": run.work.patch_nums, "pictures": run.work.num_pictures,
             "batch_size": run.work.batch_size, "dtype": run.work.dtype, "command": run.command}
            for run in sorted(runs, key=num_tokens)
        ],
        "not_the_same": sorted({words for run in runs[1:] for words in _unlike(runs[0], run)}),
        "settings": [
            {"name": name, "points": points, **{f"{figure}_exponent": exponent(points, figure) for figure in PANELS}}
            for name, points in scaling(runs).items()
        ],
    }  # fmt: skip


def _unlike(one: Results, other: Results) -> list[str]:
    """What differs beside the pyramid, which every run has in a checkpoint of its own."""
    found = [words for words in unlike_runs(one, other) if not words.startswith("checkpoint:")]
    for name in ("depth", "embed_dim"):
        here, there = getattr(one.work, name), getattr(other.work, name)
        found += [f"{name}: {here} and {there}"] if here != there else []
    return found


def draw(found: dict[str, Any], path: Path) -> None:
    """One plot, a panel per figure, both axes logarithmic."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    figure = Figure(figsize=(10, 4.6), layout="constrained")
    for axes, (name, label) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        for setting in found["settings"]:
            points = [point for point in setting["points"] if point[name]]
            axes.plot([p["tokens"] for p in points], [p[name] for p in points], "o-", label=setting["name"])
        axes.set(xscale="log", yscale="log", xlabel="tokens of all stages", ylabel=label)
        tokens = [run["tokens"] for run in found["runs"]]
        axes.set_xticks(tokens, [f"{count:,}" for count in tokens])
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_formatter(NullFormatter())
        axes.grid(True, alpha=0.3)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    figure.savefig(path, dpi=140)


def main(given: list[str] | None = None) -> int:
    """Read, draw and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="RESULTS.json")
    parser.add_argument("--output_dir", type=Path, default=Path(), metavar="DIR")
    arguments = parser.parse_args(given)
    try:
        found = report([Results.from_json(file) for file in arguments.files])
        arguments.output_dir.mkdir(parents=True, exist_ok=True)
        write_whole(arguments.output_dir / "scaling.json", json.dumps(found, indent=1) + "\n")
        draw(found, arguments.output_dir / "scaling.png")
    except (ValueError, ImportError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    for words in found["not_the_same"]:
        print(f"not the same in all runs: {words}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
