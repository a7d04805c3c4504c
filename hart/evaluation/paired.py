"""How sure the difference of two paired scores is."""

import math
import statistics
from collections.abc import Sequence

from hart.evaluation.statistics import Z_95, wilson_interval


def paired_drop(before: Sequence[float], after: Sequence[float]) -> tuple[float, float, float]:
    """Mean fall of scores from 0 to 1 between two looks at the same subjects, with its 95% interval.

    Scores of 0 and 1 alone get Newcombe's interval for paired shares (Statistics in Medicine 17, 1998, method 10),
    which has width even where no pair differs: that nothing changed in n pictures does not say that nothing ever does.
    Other scores get the normal interval of their mean.

    Args:
        before, after: scores of the same subjects, in the same order; at least one.

    Returns:
        (value, low, high); positive where scores fell.
    """
    drops = [a - b for a, b in zip(before, after, strict=True)]
    value = statistics.fmean(drops)
    if {*before, *after} <= {0, 1}:
        return (value, *_newcombe(before, after))
    half = Z_95 * statistics.stdev(drops) / math.sqrt(len(drops)) if len(drops) > 1 else 1.0
    return value, value - half, value + half


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
