"""Counts with confidence intervals, as plain dictionaries that go to JSON as they are."""

from collections.abc import Mapping, Sequence

from hart.utils.intervals import wilson_interval

Table = dict[str, dict[str, float]]


def count_table(verdicts: Mapping[str, Sequence[bool]]) -> Table:
    """Summarise verdicts: per name `correct`, `total`, `share`, and the Wilson 95% interval `low` to `high`."""
    table: Table = {}
    for name, values in verdicts.items():
        correct, total = sum(map(bool, values)), len(values)
        low, high = wilson_interval(correct, total)
        share = correct / total if total else 0.0
        table[name] = {"correct": correct, "total": total, "share": share, "low": low, "high": high}
    return table
