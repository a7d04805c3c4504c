"""How sure a figure is: 95% intervals over pictures, or over prompts where prompts repeat.

Shares of pictures get the intervals of counts (Wilson; Newcombe for the difference of pairs), which have width even
where every picture came out alike; other figures get the percentiles of the bootstrap.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hart.benchmark.results import Interval
from hart.evaluation.paired import paired_drop
from hart.evaluation.statistics import wilson_interval

RESAMPLES = 2000
CONFIDENCE = 0.95
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
    members = _members(groups if groups is not None else range(len(sample)))
    dice = np.random.default_rng(RANDOM_STATE)
    drawn = [
        function(sample[np.concatenate([members[index] for index in dice.integers(len(members), size=len(members))])])
        for _ in range(RESAMPLES)
    ]
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(drawn, (tail, 100 - tail))
    return Interval(value=value, low=float(low), high=float(high))


def score_interval(shown: Sequence[float], groups: Sequence[str]) -> Interval:
    """Share of pictures that show their prompt (each 0 or 1).

    Where prompts repeat, the bootstrap over prompts stands beside Wilson's interval, and what reaches farther counts.
    """
    low, high = wilson_interval(int(sum(shown)), len(shown))
    return _with_groups(Interval(value=float(np.mean(shown)), low=low, high=high), shown, groups)


def drop_interval(before: Sequence[float], after: Sequence[float], groups: Sequence[str]) -> Interval:
    """What the share lost between two looks at the same prompts and seeds, as `score_interval` does it."""
    value, low, high = paired_drop(before, after)
    drops = [a - b for a, b in zip(before, after, strict=True)]
    return _with_groups(Interval(value=value, low=low, high=high), drops, groups)


def _with_groups(found: Interval, values: Sequence[float], groups: Sequence[str]) -> Interval:
    if len(set(groups)) == len(groups):
        return found
    by_group = bootstrap_interval(values, groups=groups)
    return Interval(value=found.value, low=min(found.low, by_group.low), high=max(found.high, by_group.high))


def _members(groups: Sequence[Any]) -> list[np.ndarray]:
    """Places of every group's values."""
    places: dict[Any, list[int]] = {}
    for place, group in enumerate(groups):
        places.setdefault(group, []).append(place)
    return [np.asarray(found) for found in places.values()]
