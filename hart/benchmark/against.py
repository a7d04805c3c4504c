"""Two runs side by side; what keeps them from being compared is said first."""

from hart.benchmark.machine import differences
from hart.benchmark.results import Results, Setting

SAME_WORK = ("checkpoint", "device", "dtype", "threads", "compiled", "batch_size", "guidance_scale")


def compare_runs(results: Results, other: Results) -> str:
    """A table of the settings that two runs share, with what differs between the runs in front of it.

    Seconds stand in it only where machine and work are the same; speed-ups and quality always, for they are taken
    against no-cache of the same run.

    Raises:
        ValueError: they share no setting.
    """
    pairs = [(one, two) for one in results.settings for two in other.settings if one.name == two.name]
    if not pairs:
        names = ", ".join(setting.name for setting in other.settings)
        raise ValueError(f"the other run measured {names}; allowed are results that share a setting with this one.")
    unlike = unlike_runs(results, other)
    lines = [f"Not the same in both runs, so seconds are not compared: {'; '.join(unlike)}.", ""] if unlike else []
    heads = ["setting", "speed-up here", "there", "prompt score here", "there"]
    heads += [] if unlike else ["seconds here", "there"]
    lines += ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for one, two in pairs:
        name = one.name if one.config == two.config else f"{one.name} (other settings there)"
        lines.append("| " + " | ".join([name, *_cells(one, two, bool(unlike))]) + " |")
    return "\n".join(lines)


def unlike_runs(results: Results, other: Results) -> list[str]:
    """What differs in machine and work, in words; empty where seconds may be compared."""
    here, there = results.work.model_dump(), other.work.model_dump()
    work = [f"{name}: {here[name]} and {there[name]}" for name in SAME_WORK if here[name] != there[name]]
    return differences(results.machine, other.machine) + work


def _cells(one: Setting, two: Setting, unlike: bool) -> list[str]:
    cells = [f"{setting.speed_up.median:.2f}x" for setting in (one, two)]
    scores = [setting.quality.prompt_score for setting in (one, two)]
    cells += ["" if score is None else f"{score.value:.0%}" for score in scores]
    return cells + ([] if unlike else [f"{setting.batch_seconds.median:.3f}" for setting in (one, two)])
