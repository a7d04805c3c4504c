"""The page: plots, pictures and words of a run, laid into the template."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from hart.benchmark.report import text as report_text
from hart.benchmark.report.curves import threshold_curves
from hart.benchmark.report.frontier import fidelity_frontier, psnr_frontier, score_frontier
from hart.benchmark.report.maps import computed_map, hit_maps, similarity_maps
from hart.benchmark.report.pictures import AMPLIFIED, picture_rows
from hart.benchmark.report.table import Cell, price, table_columns, table_rows
from hart.benchmark.report.times import time_bars
from hart.benchmark.results import Goal, Results, Setting

GOALS: dict[Goal, str] = {
    "speed": "For speed",
    "balance": "For balance",
    "quality": "For quality",
    "memory": "For memory",
}


@dataclass(frozen=True)
class Card:
    """A recommendation: the goal in words, the setting (None where there is none to recommend), and why."""

    goal: str
    setting: Setting | None
    why: str

    @property
    def figures(self) -> dict[str, Cell]:
        """The setting's price, by name."""
        return {} if self.setting is None else price(self.setting)


def page(results: Results, folder: Path) -> str:
    """The whole report as HTML; the same results and pictures give the same text.

    Args:
        results: what was measured.
        folder: where the folders of pictures lie that the settings name.
    """
    environment = Environment(
        loader=PackageLoader("hart.benchmark.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("report.html.jinja")
    return template.render(
        results=results,
        words=report_text,
        amplified=AMPLIFIED,
        cards=cards(results),
        facts=facts(results),
        frontiers=[plot for draw in (fidelity_frontier, score_frontier, psnr_frontier) if (plot := draw(results))],
        times=time_bars(results),
        similarity=similarity_maps(results),
        computed=computed_map(results),
        hits=hit_maps(results),
        curves=threshold_curves(results),
        sheet=picture_rows(results, folder),
        columns=table_columns(results),
        rows=table_rows(results),
        configs=[json.dumps(setting.config, indent=2, default=str) for setting in results.settings],
    )


def cards(results: Results) -> list[Card]:
    """A card per goal, also where nothing is recommended for it or its setting was not measured."""
    chosen = {recommendation.goal: recommendation for recommendation in results.recommendations}
    measured = {setting.name: setting for setting in results.settings}
    found = []
    for goal, title in GOALS.items():
        recommendation = chosen.get(goal)
        if recommendation is None:
            found.append(Card(title, None, "This run recommends nothing for it."))
        else:
            found.append(Card(title, measured.get(recommendation.setting), recommendation.why))
    return found


def facts(results: Results) -> dict[str, dict[str, Any]]:
    """What to write under "How it was measured", by heading and name."""
    work, machine = results.work, results.machine
    method = results.settings[0].memory.method
    return {
        "Machine": {
            "processor": machine.processor,
            "cores": machine.cores,
            "memory": f"{machine.memory_gib:.1f} GiB",
            "accelerator": machine.accelerator or "none",
            "platform": machine.platform,
        },
        "Versions": {
            "hart": machine.hart,
            "git revision": machine.git_revision or "not known",
            "torch": machine.torch,
            "transformers": machine.transformers,
            "Python": machine.python,
        },
        "Work": {
            "checkpoint": work.checkpoint,
            "weights (SHA-256)": "not known" if work.weights is None else work.weights[:12],
            "model": f"{work.depth} layers, width {work.embed_dim}",
            "token maps": ", ".join(map(str, work.patch_nums)),
            "pictures per setting": results.pictures,
            "batch size": work.batch_size,
            "guidance scale": f"{work.guidance_scale:g}",
            "first seed": work.seed,
            "prompts": len(work.prompts),
        },
        "Run": {
            "device": work.device,
            "dtype": work.dtype,
            "threads": work.threads,
            "compiled": "yes" if work.compiled else "no",
            "memory by": method,
            "begun": results.begun or "not known",
            "put together": results.created,
        },
    }
