"""Two runs side by side; what keeps them from being compared is said first."""

from collections.abc import Callable, Sequence

from hart.benchmark.report.text import figure, quartiles
from hart.benchmark.results import Results, Setting
from hart.utils.machine import differences

SAME_WORK = ("checkpoint", "device", "dtype", "threads", "compiled", "batch_size", "guidance_scale")


Column = Callable[[Setting], str]


def compare_runs(results: Results, other: Results) -> str:
    """A table of the settings that two runs share, with what differs between the runs in front of it.

    Seconds stand in it only where machine and work are the same, prompt scores only where prompts and seeds are;
    speed-ups always, for they are taken against no-cache of the same run.

    Raises:
        ValueError: they share no setting.
    """
    pairs = [(one, two) for one in results.settings for two in other.settings if one.name == two.name]
    if not pairs:
        names = ", ".join(setting.name for setting in other.settings)
        raise ValueError(f"the other run measured {names}; allowed are results that share a setting with this one.")
    unlike, pictures = unlike_runs(results, other), unlike_pictures(results, other)
    lines = [f"Not the same in both runs, so seconds are not compared: {'; '.join(unlike)}."] if unlike else []
    lines += [f"Not the same in both runs, so scores are not compared: {'; '.join(pictures)}."] if pictures else []
    lines += [f"Note: {note}." for note in notes(results, other)]
    columns: dict[str, Column] = {"speed-up": _speed_up}
    columns |= {} if pictures else {"prompt score": _score, "PSNR": _psnr}
    if not pictures and pairs[0][0].quality.fidelity and pairs[0][1].quality.fidelity:
        columns["fidelity"] = _fidelity
    columns |= {} if unlike else {"seconds": lambda setting: f"{setting.batch_seconds.median:.3f}"}
    heads = ["setting", *(f"{name} {place}" for name in columns for place in ("here", "there")), "differs"]
    lines += ([""] if lines else []) + [*_row(heads), "|" + "---|" * len(heads)]
    for one, two in pairs:
        name = one.name if one.config == two.config else f"{one.name} (other settings there)"
        cells = [column(setting) for column in columns.values() for setting in (one, two)]
        speed = _differs_in_speed(one, two, results.rounds, other.rounds)
        lines += _row([name, *cells, _differs(one, two, speed, not pictures)])
    return "\n".join(lines)


def unlike_runs(results: Results, other: Results) -> list[str]:
    """What differs in machine and work, in words; empty where seconds may be compared."""
    return differences(results.machine, other.machine) + _unlike_work(results, other, SAME_WORK)


def unlike_pictures(results: Results, other: Results) -> list[str]:
    """What differs in what was painted, in words; empty where scores may be compared."""
    found = _unlike_work(results, other, ("seed", "num_pictures"))
    return found + (["prompts"] if results.work.prompts != other.work.prompts else [])


def notes(results: Results, other: Results) -> list[str]:
    """What else differs and may explain a difference of figures: code and weights."""
    found = []
    revisions = results.machine.git_revision, other.machine.git_revision
    if revisions[0] != revisions[1]:
        found.append(f"git revision: {revisions[0]} and {revisions[1]}")
    here, there = _digests(results), _digests(other)
    for name in sorted(here.keys() & there.keys()):
        if here[name] != there[name]:
            found.append(f"{name}: {here[name][:12]} and {there[name][:12]} (SHA-256)")
    return found


def _digests(results: Results) -> dict[str, str]:
    """What is known of the weights, by part."""
    work = results.work
    image_model = {} if work.weights is None else {"weights": work.weights}
    return image_model | {f"weights of the {part}": digest for part, digest in work.other_weights.items()}


def _unlike_work(results: Results, other: Results, names: Sequence[str]) -> list[str]:
    here, there = results.work.model_dump(), other.work.model_dump()
    return [f"{name}: {here[name]} and {there[name]}" for name in names if here[name] != there[name]]


def _speed_up(setting: Setting) -> str:
    return f"{setting.speed_up.median:.2f}x ({quartiles(setting.speed_up)})"


def _fidelity(setting: Setting) -> str:
    decibels = setting.quality.fidelity
    return "" if decibels is None else figure(decibels, 2, " dB")


def _score(setting: Setting) -> str:
    score = setting.quality.prompt_score
    return "" if score is None else figure(score.scaled(100), 1, "%")


def _psnr(setting: Setting) -> str:
    decibels = setting.quality.psnr
    return "" if decibels is None else figure(decibels, 1, " dB")


def _differs_in_speed(one: Setting, two: Setting, rounds: int, other_rounds: int) -> list[str]:
    """The speed-up where the notches do not meet; of one round nobody knows."""
    if min(rounds, other_rounds) < 2:
        return ["speed-up not known (one round)"]
    return ["speed-up"] if one.speed_up.is_apart(two.speed_up, rounds, other_rounds) else []


def _differs(one: Setting, two: Setting, speed: list[str], same_pictures: bool) -> str:
    """Figures whose intervals do not meet; what is not named is within chance."""
    apart = list(speed)
    for name, words in (("fidelity", "fidelity"), ("prompt_score", "prompt score"), ("psnr", "PSNR")):
        here, there = getattr(one.quality, name), getattr(two.quality, name)
        if same_pictures and None not in (here, there) and (here.low > there.high or there.low > here.high):
            apart.append(words)
    return ", ".join(apart) or "within chance"


def _row(cells: Sequence[str]) -> list[str]:
    return ["| " + " | ".join(cells) + " |"]
