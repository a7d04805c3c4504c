"""The interval of a paired difference of scores."""

import pytest

from hart.evaluation.paired import paired_drop


def scores(both, lost, won, neither):
    return [1] * (both + lost) + [0] * (won + neither), [1] * both + [0] * lost + [1] * won + [0] * neither


def test_newcombe_s_example():
    # Newcombe (1998), table III, row 1: 36, 12, 2, 0 gives .2000 (.0569 to .3404) by method 10.
    value, low, high = paired_drop(*scores(36, 12, 2, 0))
    assert value == pytest.approx(0.2) and (low, high) == (
        pytest.approx(0.0569, abs=5e-4),
        pytest.approx(0.3404, abs=5e-4),
    )


@pytest.mark.parametrize("shown", [0, 50, 80, 98, 100])
def test_pairs_that_are_all_alike_leave_doubt(shown):
    value, low, high = paired_drop(*scores(shown, 0, 0, 100 - shown))
    assert value == 0 and -0.06 < low < -0.01 and 0.01 < high < 0.06


def test_other_scores_get_the_interval_of_their_mean():
    value, low, high = paired_drop([0.9, 0.8, 0.7, 0.6], [0.8, 0.6, 0.6, 0.4])
    assert value == pytest.approx(0.15) and 0.05 < low < 0.15 < high < 0.25
    assert paired_drop([0.5], [0.4])[1:] == (pytest.approx(-0.9), pytest.approx(1.1))
