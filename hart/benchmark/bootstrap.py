"""How sure a figure is: 95% intervals over pictures, or over prompts where prompts repeat.

Shares of pictures get the intervals of counts (Wilson; Newcombe for the difference of pairs), which have width even
where every picture came out alike; other figures get the percentiles of the bootstrap, and distances of sets its
reflected percentiles.
"""

from collections.abc import Callable, Iterator, Sequence
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hart.benchmark.results import Interval
from hart.evaluation.paired import mean_interval, paired_drop
from hart.evaluation.statistics import wilson_interval

RESAMPLES, RESAMPLES_OF_SETS = 2000, 100
"""Sets are costly to compare."""

CONFIDENCE = 0.95
TAILS = (50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE))
RANDOM_STATE = 0

STATISTICS: dict[str, Callable[..., Any]] = {"mean": np.mean, "median": np.median}


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
    return Interval(value=value, low=low if isfinite(low) else value, high=high if isfinite(high) else value)


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
