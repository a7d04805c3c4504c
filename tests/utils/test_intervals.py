"""The intervals of a mean, and of a paired difference of scores."""

import math

import pytest

from hart.utils.intervals import mean_interval, paired_drop


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


def test_pictures_of_one_prompt_count_less_than_pictures_of_many():
    before, after = scores(90, 10, 0, 0)
    apart = paired_drop(before, after, range(100))
    assert apart == paired_drop(before, after)
    alike = [0] * 90 + [1] * 10  # all that were lost are of one prompt
    value, low, high = paired_drop(before, after, alike)
    assert value == apart[0] and low < apart[1] and high > apart[2]
    assert paired_drop(before, after, [0] * 100)[1:] == (pytest.approx(-0.9), pytest.approx(1.1))


def test_clusters_get_the_robust_interval():
    # Two prompts, two pictures each, drops .2 .2 and 0 0: sums of deviations .2 and -.2, so the standard error is
    # sqrt(2 (.04 + .04)) / 4 = .1; Student's quantile for one degree of freedom is 12.7.
    value, low, high = paired_drop([0.9, 0.9, 0.5, 0.5], [0.7, 0.7, 0.5, 0.5], list("aabb"))
    assert value == pytest.approx(0.1)
    assert (low, high) == (pytest.approx(0.1 - 1.27, abs=1e-2), pytest.approx(0.1 + 1.27, abs=1e-2))
    # Forty prompts, half of which lost .2: a standard error of .1 sqrt(40 / 39) / sqrt(40) and the normal quantile.
    before, after = [0.9, 0.9] * 40, [0.7, 0.7] * 20 + [0.9, 0.9] * 20
    value, low, high = paired_drop(before, after, [index // 2 for index in range(80)])
    assert high - value == pytest.approx(value - low) == pytest.approx(1.96 * 0.1 / 39**0.5, abs=1e-4)


def test_prompts_that_repeat_leave_as_much_doubt_as_one_picture_of_each():
    before = [1, 1, 0] * 2
    assert paired_drop(before, before, list("abcabc")) == paired_drop([1, 1, 0], [1, 1, 0])
    assert paired_drop(before, before)[2] < paired_drop(before, before, list("abcabc"))[2]


def test_a_mean_gets_student_s_interval():
    # 1, 2, 3: a standard deviation of 1, so a standard error of 1 / sqrt(3); 4.303 for two degrees of freedom.
    value, low, high = mean_interval([1.0, 2.0, 3.0])
    assert value == 2 and high - value == pytest.approx(value - low) == pytest.approx(4.303 / 3**0.5)
    assert mean_interval([1.0, 1.0, 3.0, 3.0], list("aabb")) == pytest.approx((2, 2 - 12.706, 2 + 12.706))


def test_one_group_says_nothing_of_others():
    assert mean_interval([5.0]) == (5, -math.inf, math.inf)
    assert mean_interval([5.0, 7.0], ["a", "a"]) == (6, -math.inf, math.inf)
    with pytest.raises(ValueError, match=r"values must hold at least one number, got none\."):
        mean_interval([])
