"""Figures of samples: quantiles and spreads, and 95% intervals that say how sure a figure is.

Shares of pictures get the intervals of counts (Wilson; Newcombe for the difference of pairs), which have width even
where every picture came out alike. Other figures get the percentiles of the bootstrap, and distances of sets its
reflected percentiles. Where prompts repeat, intervals are over prompts.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hart.utils.records import Part

Z_95 = 1.959964
"""Standard normal quantile of a two-sided 95% interval."""

STUDENT_95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""Quantiles for 1, 2, ... degrees of freedom."""

NOTCH = 1.57
"""Half of a notch, in interquartile ranges over the root of the number of values."""

RESAMPLES, RESAMPLES_OF_SETS = 2000, 100
"""Sets are costly to compare."""

CONFIDENCE = 0.95
TAILS = (50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE))
RANDOM_STATE = 0

STATISTICS: dict[str, Callable[..., Any]] = {"mean": np.mean, "median": np.median}


class Spread(Part):
    """Median and quartiles of seconds per batch, or of paired ratios."""

    median: float
    q1: float
    q3: float

    def is_apart(self, other: "Spread", rounds: int, other_rounds: int) -> bool:
        """Whether two medians of so many rounds differ by more than chance.

        Their notches do not meet (McGill, Tukey and Larsen, Variations of box plots, The American Statistician, 1978).
        One round has no notch and says nothing of chance: there any difference is one.
        """
        reach = NOTCH * ((self.q3 - self.q1) / math.sqrt(rounds) + (other.q3 - other.q1) / math.sqrt(other_rounds))
        return abs(self.median - other.median) > reach


class Interval(Part):
    """A value with its 95% interval over pictures."""

    value: float
    low: float
    high: float

    def scaled(self, factor: float) -> "Interval":
        """The same in a unit that is so many times smaller."""
        return Interval(value=factor * self.value, low=factor * self.low, high=factor * self.high)


# -- quantiles ---------------------------------------------------------------------------------------------------------


def summary(values: Iterable[float]) -> dict[str, float]:
    """Mean, standard deviation (of the values as they are), extremes and percentiles by linear interpolation."""
    ordered = sorted(values)
    return {
        "mean": statistics.fmean(ordered),
        "std": statistics.pstdev(ordered),
        "min": ordered[0],
        "max": ordered[-1],
        "median": percentile(ordered, 50),
        "p80": percentile(ordered, 80),
        "p90": percentile(ordered, 90),
    }


def percentile(ordered: list[float], percent: float) -> float:
    """Of ascending values, by linear interpolation between the two nearest."""
    place = (len(ordered) - 1) * percent / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def spread_of(values: Iterable[float]) -> Spread:
    """Median and quartiles, by linear interpolation."""
    ordered = sorted(values)
    return Spread(median=percentile(ordered, 50), q1=percentile(ordered, 25), q3=percentile(ordered, 75))


# -- shares ------------------------------------------------------------------------------------------------------------


def wilson_interval(correct: int, total: int, z: float = Z_95) -> tuple[float, float]:
    """Interval for a share (Wilson, 1927), sound for few trials and for shares near 0 and 1.

    Args:
        correct: number of successes, 0 to `total`.
        total: number of trials; with none, nothing is known and the interval is 0 to 1.
        z: normal quantile; larger gives a wider, surer interval.

    Returns:
        (low, high), each in 0 to 1.

    Raises:
        ValueError: if `correct` is not within 0 and `total`.
    """
    if not 0 <= correct <= total:
        raise ValueError(f"correct is {correct}; allowed are 0 to total, {total}.")
    if total == 0:
        return 0.0, 1.0
    share, weight = correct / total, z * z / total
    middle = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / total + weight / (4 * total))
    # Rounding may leave the interval a hair short of a share of exactly 0 or 1.
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


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


# -- bootstrap ---------------------------------------------------------------------------------------------------------


def bootstrap_interval(
    values: Sequence[float], statistic: str = "mean", groups: Sequence[str] | None = None
) -> Interval:
    """A figure of a sample with its 95% percentile interval; a constant sample, or one of one, has no width.

    Args:
        values: one per picture; for a difference, the differences of pairs.
        statistic: "mean" or "median".
        groups: prompt of every value: prompts are drawn with all their pictures, because pictures of one prompt are
            alike. None: every value stands for itself.

    Raises:
        ValueError: no values.
    """
    sample = np.asarray(values, dtype=np.float64)
    if not len(sample):
        raise ValueError("values is empty; allowed is at least one.")
    function = STATISTICS[statistic]
    value = float(function(sample))
    if np.ptp(sample) == 0:
        return Interval(value=value, low=value, high=value)
    draws = _draws(groups if groups is not None else range(len(sample)), RESAMPLES)
    low, high = np.percentile([function(sample[drawn]) for drawn in draws], TAILS)
    return Interval(value=value, low=float(low), high=float(high))


def reflected_limits(
    distance: Callable[[NDArray[np.intp]], float | None], groups: Sequence[str]
) -> tuple[float, float] | None:
    """95% limits of a distance of two sets of pictures, by the basic bootstrap; None for fewer than two groups.

    A distance of sets is biased upwards, and more so in a resample, which repeats pictures; so the deviations of the
    resamples are reflected at the distance (Davison and Hinkley, Bootstrap Methods, 1997, section 5.2), which stays
    inside.

    Args:
        distance: places of pictures to the distance of the two sets made of them.
        groups: prompt of every picture, drawn with all its pictures.
    """
    value = distance(np.arange(len(groups)))
    if value is None or len(set(groups)) < 2:
        return None
    found = [distance(drawn) for drawn in _draws(groups, RESAMPLES_OF_SETS)]
    low, high = np.percentile([value if again is None else again for again in found], TAILS)
    return max(0.0, min(value, 2 * value - float(high))), max(value, 2 * value - float(low))


def score_interval(shown: Sequence[float], groups: Sequence[str]) -> Interval:
    """Share of pictures that show their prompt (each 0 or 1).

    Where prompts repeat, the bootstrap over prompts stands beside Wilson's interval, and what reaches farther counts;
    where all pictures came out alike, Wilson's is that of one picture of each prompt.
    """
    value, prompts = float(np.mean(shown)), len(set(groups))
    if value in (0, 1):
        low, high = wilson_interval(round(value * prompts), prompts)
        return Interval(value=value, low=low, high=high)
    low, high = wilson_interval(int(sum(shown)), len(shown))
    if prompts == len(groups):
        return Interval(value=value, low=low, high=high)
    by_prompt = bootstrap_interval(shown, groups=groups)
    return Interval(value=value, low=min(low, by_prompt.low), high=max(high, by_prompt.high))


def mean_of_pictures(values: Sequence[float], groups: Sequence[str]) -> Interval:
    """Mean of a figure of pictures, see `mean_interval`; of a single prompt's pictures, no width.

    Args:
        values: one per picture; for a difference, the differences of pairs.
        groups: prompt of every value.
    """
    value, low, high = mean_interval(values, groups)
    return Interval(value=value, low=low if math.isfinite(low) else value, high=high if math.isfinite(high) else value)


def drop_interval(before: Sequence[float], after: Sequence[float], groups: Sequence[str]) -> Interval:
    """What the share lost between two looks at the same prompts and seeds, see `paired_drop`."""
    value, low, high = paired_drop(before, after, groups)
    return Interval(value=value, low=low, high=high)


def _draws(groups: Sequence[Any], count: int) -> Iterator[NDArray[np.intp]]:
    """Places of the values of as many groups as there are, drawn with repetition, so many times."""
    members, dice = _members(groups), np.random.default_rng(RANDOM_STATE)
    for _ in range(count):
        yield np.concatenate([members[index] for index in dice.integers(len(members), size=len(members))])


def _members(groups: Sequence[Any]) -> list[NDArray[np.intp]]:
    """Places of every group's values."""
    places: dict[Any, list[int]] = {}
    for place, group in enumerate(groups):
        places.setdefault(group, []).append(place)
    return [np.asarray(found) for found in places.values()]
