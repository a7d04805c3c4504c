"""Registries: what users add by one line, and the sentences that come back."""

import pytest

from hart.modules.cache import eviction, similarity, upsample
from hart.modules.cache import thresholds as schedule
from hart.modules.cache import token_selectors as selector
from hart.modules.cache.registries import EVICTIONS, INTERPOLATIONS, METRICS, SCHEDULES, SELECTORS
from hart.modules.cache.registry import Registry


def test_names_come_back_as_what_was_registered():
    registry: Registry[int] = Registry("number")
    assert registry.register("one", 1) == 1
    assert registry.get("one") == 1
    assert registry.names() == ["one"]
    assert "one" in registry
    assert "two" not in registry


def test_a_taken_name_is_refused():
    registry: Registry[int] = Registry("number")
    registry.register("one", 1)
    with pytest.raises(ValueError, match="number 'one' is already registered"):
        registry.register("one", 2)
    assert registry.get("one") == 1
    registry.remove("one")
    assert registry.register("one", 2) == 2


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ä", 3, None])
def test_a_name_that_no_run_tag_can_carry_is_refused(name):
    with pytest.raises(ValueError, match="allowed are letters, digits"):
        Registry("number").register(name, 1)


def test_an_unknown_name_gives_the_nearest_and_all():
    with pytest.raises(ValueError, match="unknown") as error:
        INTERPOLATIONS.get("billinear")
    assert str(error.value) == (
        "unknown interpolation mode 'billinear', nearest to it is 'bilinear'; "
        "known are 'area', 'bicubic', 'bilinear', 'nearest'."
    )


@pytest.mark.parametrize("registry", [INTERPOLATIONS, METRICS, SCHEDULES, SELECTORS, EVICTIONS], ids=lambda r: r.kind)
def test_every_name_announced_has_its_function(registry):
    assert registry.names() == sorted(registry.shipped)
    for name in registry.shipped:
        registry.get(name)


@pytest.mark.parametrize(
    ("register", "registry"),
    [
        (upsample.register_interpolation, INTERPOLATIONS),
        (similarity.register_metric, METRICS),
        (schedule.register_schedule, SCHEDULES),
        (selector.register_selector, SELECTORS),
        (eviction.register_eviction, EVICTIONS),
    ],
    ids=["interpolation", "metric", "schedule", "selector", "eviction"],
)
def test_each_helper_adds_once(register, registry):
    register("mine", lambda *args: None)
    try:
        assert "mine" in registry.names()
        with pytest.raises(ValueError, match="'mine' is already registered"):
            register("mine", lambda *args: None)
    finally:
        registry.remove("mine")
    assert "mine" not in registry
