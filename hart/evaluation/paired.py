"""How sure a mean is, and the difference of two paired scores."""

import math
import statistics
from collections import defaultdict
from collections.abc import Hashable, Sequence

from hart.evaluation.statistics import Z_95, wilson_interval

STUDENT_95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""Quantiles for 1, 2, ... degrees of freedom."""


def mean_interval(values: Sequence[float], groups: Sequence[Hashable] | None = None) -> tuple[float, float, float]:
    """Mean with its 95% interval, by Student's quantiles.

    For the difference of two looks at the same subjects, give the differences of the pairs.

    Args:
        values: one per subject; at least one.
        groups: prompt of every subject, because pictures of one prompt are alike; None: all are different.

    Returns:
        (value, low, high); the limits are infinite where there are fewer than two groups.

    Raises:
        ValueError: no values.
    """
    if not len(values):
        raise ValueError("values must hold at least one number, got none.")
    value = statistics.fmean(values)
    reach = _reach_over_clusters(values, range(len(values)) if groups is None else groups)
    return value, value - reach, value + reach


def paired_drop(
    before: Sequence[float], after: Sequence[float], groups: Sequence[Hashable] | None = None
) -> tuple[float, float, float]:
    """Mean fall of scores from 0 to 1 between two looks at the same subjects, with its 95% interval.

    Scores of 0 and 1 alone get Newcombe's interval for paired shares (Statistics in Medicine 17, 1998, method 10),
    which has width even where no pair differs: that nothing changed in n pictures does not say that nothing ever does.
    Other scores get the interval of their mean. Where groups repeat, the interval reaches at least as far as
    that of a mean over clusters, or, where no score changed, as one of a picture of each.

    Args:
        before, after: scores of the same subjects, in the same order; at least one.
        groups: prompt of every subject, because pictures of one prompt are alike; None: all are different.

    Returns:
        (value, low, high); positive where scores fell.
    """
    drops = [a - b for a, b in zip(before, after, strict=True)]
    value = statistics.fmean(drops)
    low, high = _limits(before, after)
    if groups is None or len(set(groups)) == len(groups):
        return value, low, high
    if not any(drops):  # clusters that are all alike would leave no doubt
        one_each = dict(zip(groups, zip(before, after, strict=True), strict=True))
        return value, *_limits(*zip(*one_each.values(), strict=True))
    reach = _within_scores(_reach_over_clusters(drops, groups))
    return value, min(low, value - reach), max(high, value + reach)


def _limits(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    """Of subjects that are all different."""
    if {*before, *after} <= {0, 1}:
        return _newcombe(before, after)
    value, _, high = mean_interval([a - b for a, b in zip(before, after, strict=True)])
    reach = _within_scores(high - value)
    return value - reach, value + reach


def _within_scores(reach: float) -> float:
    """Scores from 0 to 1 differ by 1 at most, whatever is not known."""
    return reach if math.isfinite(reach) else 1.0


def _reach_over_clusters(values: Sequence[float], groups: Sequence[Hashable]) -> float:
    """Half the interval of a mean whose members are alike within groups (Liang and Zeger, Biometrika, 1986)."""
    mean, sums = statistics.fmean(values), defaultdict[Hashable, float](float)
    for value, group in zip(values, groups, strict=True):
        sums[group] += value - mean
    if len(sums) == 1:
        return math.inf
    spread = sum(total * total for total in sums.values()) * len(sums) / (len(sums) - 1)
    return _student(len(sums) - 1) * math.sqrt(spread) / len(values)


def _student(freedom: int) -> float:
    """Student's quantile of a two-sided 95% interval; the normal one from some 30 degrees of freedom on."""
    return STUDENT_95[freedom - 1] if freedom <= len(STUDENT_95) else Z_95


def _newcombe(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    pairs = list(zip(map(bool, before), map(bool, after), strict=True))
    both, lost, won, neither = (
        pairs.count(kind) for kind in ((True, True), (True, False), (False, True), (False, False))
    )
    total = len(pairs)
    p1, p2 = (both + lost) / total, (both + won) / total
    (low1, high1), (low2, high2) = (wilson_interval(both + part, total) for part in (lost, won))
    margins = (both + lost) * (won + neither) * (both + won) * (lost + neither)
    product = float(both * neither - lost * won)
    if product > 0:
        product = max(product - total / 2, 0)
    correlation = product / math.sqrt(margins) if margins else 0.0

    def reach(one: float, other: float) -> float:
        return math.sqrt(max(0.0, one * one - 2 * correlation * one * other + other * other))

    drop = p1 - p2
    return drop - reach(p1 - low1, high2 - p2), drop + reach(high1 - p1, p2 - low2)
