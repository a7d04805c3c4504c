"""Counts with confidence intervals, as plain dictionaries that go to JSON as they are."""

import math
from collections.abc import Mapping, Sequence

Table = dict[str, dict[str, float]]

Z_95 = 1.959964
"""Standard normal quantile of a two-sided 95% interval."""


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


def count_table(verdicts: Mapping[str, Sequence[bool]]) -> Table:
    """Summarise verdicts: per name `correct`, `total`, `share`, and the Wilson 95% interval `low` to `high`."""
    table: Table = {}
    for name, values in verdicts.items():
        correct, total = sum(map(bool, values)), len(values)
        low, high = wilson_interval(correct, total)
        share = correct / total if total else 0.0
        table[name] = {"correct": correct, "total": total, "share": share, "low": low, "high": high}
    return table
