"""How sure a figure is: bootstrap intervals over pictures."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hart.benchmark.results import Interval

RESAMPLES = 2000
CONFIDENCE = 0.95
RANDOM_STATE = 0

STATISTICS: dict[str, Callable[..., Any]] = {"mean": np.mean, "median": np.median}


def bootstrap_interval(values: Sequence[float], statistic: str = "mean") -> Interval:
    """A figure of a sample with its 95% percentile interval; a constant sample, or one of one, has no width.

    Args:
        values: one per picture; for a difference, the differences of pairs.
        statistic: "mean" or "median".

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
    from scipy.stats import bootstrap

    found = bootstrap(
        (sample,),
        function,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(RANDOM_STATE),
    ).confidence_interval
    return Interval(value=value, low=float(found.low), high=float(found.high))
