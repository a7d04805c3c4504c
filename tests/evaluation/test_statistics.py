"""Intervals and tables, against numbers worked out by hand."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hart.evaluation import count_table, wilson_interval


def test_interval_by_hand():
    # z = 2, 5 of 10: middle (0.5 + 0.2) / 1.4 = 0.5, half 2 / 1.4 * sqrt(0.025 + 0.01) = 0.26726.
    assert wilson_interval(5, 10, z=2) == pytest.approx((0.23274, 0.76726), abs=1e-5)
    # z = 2, 0 of 4: from 0 to (z^2 / n) / (1 + z^2 / n) = 1 / 2.
    assert wilson_interval(0, 4, z=2) == pytest.approx((0.0, 0.5))


def test_nothing_is_known_without_trials():
    assert wilson_interval(0, 0) == (0.0, 1.0)


@given(st.integers(1, 5000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_interval_holds_the_share_and_mirrors(trials):
    correct, total = trials
    low, high = wilson_interval(correct, total)
    assert 0 <= low <= correct / total <= high <= 1
    assert wilson_interval(total - correct, total) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(("correct", "total"), [(3, 2), (-1, 2)])
def test_impossible_counts_are_refused(correct, total):
    with pytest.raises(ValueError, match=f"correct is {correct}; allowed are 0 to total, 2"):
        wilson_interval(correct, total)


def test_table_counts_and_goes_to_json():
    table = count_table({"size": [True, False, True], "style": []})
    assert table["size"]["correct"] == 2 and table["size"]["total"] == 3
    assert table["size"]["share"] == pytest.approx(2 / 3)
    assert table["style"] == {"correct": 0, "total": 0, "share": 0.0, "low": 0.0, "high": 1.0}
    assert json.loads(json.dumps(table)) == table
