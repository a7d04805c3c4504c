"""Threshold schedules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hart.modules.cache.registries import SCHEDULES
from hart.modules.cache.thresholds import register_schedule, scheduled_threshold

NAMES = ["constant", "rising", "mlp_stricter"]
STAGES = (4, 9, 16, 25, 36, 64, 100, 169, 256)


def test_constant_is_the_configured_one():
    assert {scheduled_threshold("constant", stage, 3, "mlp", 0.7) for stage in STAGES} == {0.7}


def test_rising_by_hand():
    """A part of one over the side is taken off."""
    assert scheduled_threshold("rising", 100, 0, "attn", 0.7) == pytest.approx(0.63)
    values = [scheduled_threshold("rising", stage, 0, "attn", 0.7) for stage in STAGES]
    assert values == sorted(values)
    assert max(values) < 0.7


def test_mlp_stricter_by_hand():
    assert scheduled_threshold("mlp_stricter", 100, 0, "mlp", 0.64) == pytest.approx(0.8)
    assert scheduled_threshold("mlp_stricter", 100, 0, "attn", 0.64) == 0.64


def test_a_registered_schedule_sees_place_and_base_and_is_kept_in_range():
    register_schedule("mine", lambda stage, layer, branch, base: base + layer * 0.1 + stage / 100 + (branch == "mlp"))
    try:
        assert scheduled_threshold("mine", 4, 2, "attn", 0.5) == pytest.approx(0.74)
        assert scheduled_threshold("mine", 4, 2, "mlp", 0.5) == 1
    finally:
        SCHEDULES.remove("mine")


@given(
    name=st.sampled_from(NAMES),
    stage=st.sampled_from(STAGES),
    branch=st.sampled_from(["attn", "mlp"]),
    bases=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
)
def test_thresholds_stay_in_range_and_rise_with_the_base(name, stage, branch, bases):
    low, high = (scheduled_threshold(name, stage, 0, branch, base) for base in bases)
    assert 0 <= low <= high <= 1


@pytest.mark.parametrize("name", NAMES)
def test_always_and_never_stay(name):
    assert scheduled_threshold(name, 36, 0, "mlp", 0.0) == 0
    assert scheduled_threshold(name, 36, 0, "attn", 1.0) == 1
