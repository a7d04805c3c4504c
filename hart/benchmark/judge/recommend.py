"""Which setting to use: for speed, balance, quality and memory, each with a sentence of why."""

import math
from collections.abc import Sequence

from hart.benchmark.report.text import change_limits, is_chance, loss_in_words
from hart.benchmark.results import Goal, Interval, Recommendation, Results, Setting

QUALITY_DROP, BALANCE_DROP, SPEED_DROP = 0.01, 0.03, 0.15
"""Most that a setting may lose of the prompt score for a goal, as a share of pictures."""

QUALITY_DECIBELS, BALANCE_DECIBELS, SPEED_DECIBELS = 30.0, 25.0, 18.0
"""Least median PSNR to no-cache for a goal.

For quality and balance it counts beside the prompt score, because the program that judges prompts does not see fine
detail; for speed only where no program judges.
"""

QUALITY_LOST, BALANCE_LOST, SPEED_LOST = 0.5, 1.0, 2.5
"""Most dB of fidelity that a setting may lose for a goal; where fidelity was measured, nothing else limits."""

PEAK_NOISE = 1.03
"""Peaks this near to each other are called equal: so far did those of one setting differ between two runs."""


def recommend(results: Results) -> list[Recommendation]:
    """The best measured setting for every goal; no-cache is allowed for all of them.

    Where pictures were not judged, for speed and memory only.
    """
    plain, *others = results.settings
    if not any(map(_is_judged, results.settings)):
        among = "in this run"
        smallest = _smallest(results.settings, among)
        return [
            _fastest("speed", results.settings, among, results.rounds),
            *([smallest] if smallest is not None else []),
        ]
    if plain.quality.fidelity_lost is not None:
        return _by_fidelity(results)
    balanced = [s for s in others if _keeps_prompts(s, BALANCE_DROP) and _is_near(s, BALANCE_DECIBELS)]
    careful = [
        s for s in others if (_keeps_prompts(s, QUALITY_DROP) or _is_not_worse(s)) and _is_near(s, QUALITY_DECIBELS)
    ]
    quick = [
        s
        for s in others
        if _keeps_prompts(s, SPEED_DROP) and (s.quality.prompt_drop is not None or _is_near(s, SPEED_DECIBELS))
    ]
    judged = plain.quality.prompt_score is not None
    of_balanced = _limit(judged, f"{BALANCE_DROP:.0%}", BALANCE_DECIBELS)
    of_careful = _limit(judged, f"{QUALITY_DROP:.0%} (or {BALANCE_DROP:.0%} and within chance)", QUALITY_DECIBELS)
    of_quick = (
        f"of those that lose at most {SPEED_DROP:.0%} of prompts" if judged else _limit(False, "", SPEED_DECIBELS)
    )
    found = [
        _fastest("speed", [plain, *quick], of_quick, results.rounds),
        _fastest("balance", [plain, *balanced], of_balanced, results.rounds),
        _fastest("quality", [plain, *careful], of_careful, results.rounds),
    ]
    _say_what_is_unseen(found[-1], plain.quality.smallest_drop)
    smallest = _smallest([plain, *balanced], of_balanced)
    return [*found, *([smallest] if smallest is not None else [])]


def _by_fidelity(results: Results) -> list[Recommendation]:
    """By what settings lose of the distance to the true pictures."""
    plain, *others = results.settings
    goals: tuple[tuple[Goal, float], ...] = (
        ("speed", SPEED_LOST),
        ("balance", BALANCE_LOST),
        ("quality", QUALITY_LOST),
    )
    kept = {goal: [plain, *(setting for setting in others if _lost(setting) <= most)] for goal, most in goals}
    found = [_fastest(goal, kept[goal], _limit_of_fidelity(most), results.rounds) for goal, most in goals]
    smallest = _smallest(kept["balance"], _limit_of_fidelity(BALANCE_LOST))
    return [*found, *([smallest] if smallest is not None else [])]


def _lost(setting: Setting) -> float:
    """Fidelity lost in dB; no limit holds a setting that was not measured."""
    lost = setting.quality.fidelity_lost
    return math.inf if lost is None else lost.value


def _limit_of_fidelity(most: float) -> str:
    return f"of those that lose at most {most:g} dB of fidelity"


def _say_what_is_unseen(careful: Recommendation, smallest_drop: float | None) -> None:
    """A run of few pictures cannot vouch for the limit of quality."""
    if smallest_drop is not None and smallest_drop > QUALITY_DROP:
        careful.why += f" Drops below {100 * smallest_drop:.1f} points may stay unseen in a run of so few pictures."


def _is_judged(setting: Setting) -> bool:
    quality = setting.quality
    return any(figure is not None for figure in (quality.prompt_score, quality.psnr, quality.ssim))


def _limit(judged: bool, drop: str, decibels: float) -> str:
    near = f"whose median PSNR to no-cache is at least {decibels:.0f} dB"
    return f"of those that lose at most {drop} of prompts and {near}" if judged else f"of those {near}"


def _keeps_prompts(setting: Setting, drop: float) -> bool:
    """Whether the loss of the prompt score is small enough; nothing is asked where no program judged."""
    loss = setting.quality.prompt_drop
    return loss is None or loss.value <= drop


def _is_near(setting: Setting, decibels: float) -> bool:
    """Whether pictures are near to no-cache's; nothing is asked where only prompts were judged."""
    quality = setting.quality
    if quality.psnr is None:
        return quality.prompt_drop is not None
    return quality.psnr.value >= decibels


def _is_not_worse(setting: Setting) -> bool:
    """Whether the drop is smaller than what chance makes of so many pictures, and not large for all that."""
    drop = setting.quality.prompt_drop
    return drop is not None and drop.low <= 0 and drop.value <= BALANCE_DROP


def _fastest(goal: Goal, allowed: Sequence[Setting], among: str, rounds: int) -> Recommendation:
    """Of those that are as fast as the fastest, but for chance, the nearest to no-cache."""
    plain, *others = allowed
    faster = [setting for setting in others if _is_faster(setting, plain, rounds)]
    if not faster:
        shaky = any(setting.speed_up.median > 1 for setting in others)
        why = f"Nothing measured is faster than no-cache {among}{', by more than chance' if shaky else ''}."
        return Recommendation(goal=goal, setting=plain.name, why=why)
    fastest = max(faster, key=lambda setting: setting.speed_up.median)
    ties = [setting for setting in faster if not setting.speed_up.is_apart(fastest.speed_up, rounds, rounds)]
    best = max(ties, key=_nearness)
    speed, as_fast = best.speed_up, [setting for setting in ties if setting not in (best, fastest)]
    rank = "the fastest" if best is fastest else f"but for chance as fast as the fastest ({fastest.name})"
    why = (
        f"{speed.median:.2f}x as fast as no-cache (quartiles {speed.q1:.2f} to {speed.q3:.2f}), {rank} {among}; "
        f"{_quality_words(best)}{_tie_words(as_fast)}."
    )
    return Recommendation(goal=goal, setting=best.name, why=why)


def _is_faster(setting: Setting, plain: Setting, rounds: int) -> bool:
    """Whether a setting is faster than no-cache by more than chance."""
    return setting.speed_up.median > 1 and setting.speed_up.is_apart(plain.speed_up, rounds, rounds)


def _nearness(setting: Setting) -> tuple[float, float, float, float]:
    """To the truth, to no-cache's pictures, then to its score; what was not measured decides nothing."""
    lost = setting.quality.fidelity_lost
    decibels, drop = setting.quality.psnr, setting.quality.prompt_drop
    near = (
        0.0 if lost is None else -lost.value,
        0.0 if decibels is None else decibels.value,
        0.0 if drop is None else -drop.value,
    )
    return *near, setting.speed_up.median


def _smallest(allowed: Sequence[Setting], among: str) -> Recommendation | None:
    """None where memory was not measured."""
    measured = [setting for setting in allowed if setting.memory.over_no_cache is not None]
    if not measured:
        return None
    least = min(measured, key=lambda setting: setting.memory.peak_bytes)
    near = [setting for setting in measured if setting.memory.peak_bytes <= PEAK_NOISE * least.memory.peak_bytes]
    if allowed[0] in near:
        why = f"Nothing measured takes less memory than no-cache {among}, by more than peaks differ from run to run."
        return Recommendation(goal="memory", setting=allowed[0].name, why=why)
    best = max(near, key=lambda setting: setting.speed_up.median)
    why = (
        f"A peak of {best.memory.peak_bytes / 2**20:.0f} MiB, {best.memory.over_no_cache:.3f} of no-cache's, the least "
        f"{among}{_near_words(best, near)}; {_quality_words(best)}."
    )
    return Recommendation(goal="memory", setting=best.name, why=why)


def _near_words(best: Setting, near: Sequence[Setting]) -> str:
    """Other settings whose peak cannot be told from the best one's, which is the fastest of them."""
    others = [setting.name for setting in near if setting is not best]
    return f" (as little, within 3%, but slower: {', '.join(others)})" if others else ""


def _quality_words(setting: Setting) -> str:
    quality = setting.quality
    if quality.prompt_drop is not None:
        near = "" if quality.psnr is None else f", median PSNR {quality.psnr.value:.1f} dB to no-cache"
        first = "" if quality.fidelity_lost is None else f"{loss_in_words(quality.fidelity_lost)}, "
        return f"{first}prompt score {_change(quality.prompt_drop)}{near}"
    if quality.psnr is None:
        return "its pictures were not judged"
    return f"median PSNR {quality.psnr.value:.1f} dB to no-cache (no program judges prompts here)"


def _change(drop: Interval) -> str:
    if drop.low == drop.high == 0:
        return "as no-cache's"
    points = f"{abs(100 * drop.value):.1f} points {'below' if drop.value >= 0 else 'above'} no-cache's"
    chance = ", within chance" if is_chance(drop) else ""
    return f"{points} (95%: {change_limits(drop)}{chance})"


def _tie_words(ties: Sequence[Setting]) -> str:
    """Other settings whose speed cannot be told from the fastest one's."""
    return f"; but for chance as fast: {', '.join(setting.name for setting in ties)}" if ties else ""
