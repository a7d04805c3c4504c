"""Adaptive thresholds: no effect early, outliers compute, monotone in the configured threshold."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hart.modules.cache.adaptive import AdaptiveThresholds, lower_fence

VALUES = st.floats(-1, 1)


def seen(values, window=20, reach=0.2, branch="attn", layer=0):
    thresholds = AdaptiveThresholds(window, reach)
    thresholds.observe((branch, layer, value) for value in values)
    return thresholds


def test_no_effect_before_ten():
    assert seen([0.95] * 9).threshold("attn", 0, 0.7) == 0.7
    assert seen([0.85] * 10).threshold("attn", 0, 0.7) == pytest.approx(0.85)


def test_the_fence_by_hand():
    """Median 0.8; deviations 0, 0.02 and 0.04, their median 0.02: 0.8 - 3 * 0.02."""
    values = [0.8, 0.78, 0.82, 0.76, 0.84]
    assert lower_fence(values) == pytest.approx(0.74)
    assert seen(values * 2).threshold("attn", 0, 0.7) == pytest.approx(0.74)


def test_typical_inputs_reuse_and_outliers_compute():
    values = [0.93, 0.94, 0.95, 0.96, 0.97] * 4
    threshold = seen(values).threshold("attn", 0, 0.85)
    assert all(value >= threshold for value in values)
    assert threshold > 0.86


def test_it_stays_near_the_configured_value_and_within_0_and_1():
    assert seen([0.99] * 10).threshold("attn", 0, 0.7) == pytest.approx(0.9)
    assert seen([0.1] * 10).threshold("attn", 0, 0.7) == pytest.approx(0.5)
    assert seen([0.99] * 10, reach=0.05).threshold("attn", 0, 0.7) == pytest.approx(0.75)
    assert seen([-1.0] * 10).threshold("attn", 0, 0.1) == 0


def test_only_the_window_counts():
    thresholds = seen([0.6] * 30, window=12)
    thresholds.observe([("attn", 0, 0.8)] * 12)
    assert thresholds.threshold("attn", 0, 0.7) == pytest.approx(0.8)


def test_a_window_shorter_than_ten_still_works_after_ten():
    assert seen([0.1] * 9 + [0.8], window=1).threshold("attn", 0, 0.7) == pytest.approx(0.8)


def test_layers_and_branches_are_apart():
    thresholds = seen([0.8] * 10)
    assert thresholds.threshold("attn", 1, 0.7) == 0.7
    assert thresholds.threshold("mlp", 0, 0.7) == 0.7
    assert thresholds.to_dict(lambda branch, layer: 0.7) == {"attn": {"0": pytest.approx(0.8)}}


def test_always_and_never_stay():
    thresholds = seen([0.5] * 20)
    assert thresholds.threshold("attn", 0, 0) == 0
    assert thresholds.threshold("attn", 0, 1) == 1


def test_values_that_are_not_finite_are_left_out():
    thresholds = seen([math.nan, math.inf] * 10 + [0.8] * 9)
    assert thresholds.threshold("attn", 0, 0.7) == 0.7


def test_a_snapshot_is_independent_and_reset_forgets():
    thresholds = seen([0.8] * 10)
    copy = thresholds.snapshot()
    thresholds.observe([("attn", 0, 0.6)] * 20)
    assert copy.threshold("attn", 0, 0.7) == pytest.approx(0.8)
    thresholds.reset()
    assert thresholds.threshold("attn", 0, 0.7) == 0.7
    assert thresholds.to_dict({"attn": 0.7}) == {}
    assert copy.threshold("attn", 0, 0.7) == pytest.approx(0.8)


@given(
    stream=st.lists(VALUES, max_size=60),
    bases=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
    window=st.integers(1, 30),
    reach=st.floats(0, 1),
)
def test_a_higher_configured_threshold_never_yields_more_hits(stream, bases, window, reach):
    hits = []
    for base in bases:
        thresholds, count = AdaptiveThresholds(window, reach), 0
        for value in stream:
            threshold = thresholds.threshold("mlp", 2, base)
            assert 0 <= threshold <= 1
            assert abs(threshold - base) <= reach + 1e-12
            count += value >= threshold
            thresholds.observe([("mlp", 2, value)])
        hits.append(count)
    assert hits[0] >= hits[1]


@given(st.lists(VALUES, min_size=10, max_size=40))
def test_the_same_stream_gives_the_same_threshold(stream):
    assert seen(stream).threshold("attn", 0, 0.7) == seen(stream).threshold("attn", 0, 0.7)
