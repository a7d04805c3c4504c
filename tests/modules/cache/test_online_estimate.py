"""The online estimate, on toy maps whose similarities are known."""

import pytest
import torch

from hart.modules.cache.online_estimate import NUM_SPOTS, TransitionWatch, stages_to_watch
from hart.modules.cache.similarity import similarity
from hart.modules.cache.upsample import upsample_tokens

SIDES = (1, 2, 4, 8, 16)


def watch(*stages: int) -> TransitionWatch:
    return TransitionWatch(
        SIDES, stages, "cosine", lambda x, side, other: upsample_tokens(x, side, other, "nearest")
    )  # fmt: skip


def test_a_map_that_only_grows_is_alike():
    small = torch.randn(2, 16, 3)
    seen = watch(3)
    seen.computed(5, 2, small, pictures=1)
    seen.computed(5, 3, upsample_tokens(small, 4, 8, "nearest"), pictures=1)
    assert seen.estimates() == {5: pytest.approx(1.0)}


def test_the_least_alike_picture_decides():
    small = torch.randn(4, 16, 3)  # two pictures: rows 0 and 2, rows 1 and 3
    large = upsample_tokens(small, 4, 8, "nearest")
    large[[1, 3]] *= -1
    seen = watch(3)
    seen.computed(0, 2, small, pictures=2)
    seen.computed(0, 3, large, pictures=2)
    assert seen.estimates() == {0: pytest.approx(-1.0)}


def test_the_last_transition_counts_and_only_watched_stages_are_compared():
    maps = {index: torch.randn(2, side * side, 3) for index, side in enumerate(SIDES)}
    seen = watch(2, 3)
    for index in (1, 2, 3, 4):
        seen.computed(1, index, maps[index], pictures=1)
    expected = similarity(upsample_tokens(maps[2], 4, 8, "nearest"), maps[3]).mean()
    assert NUM_SPOTS >= 64  # so that all of this stage is compared
    assert seen.estimates() == {1: pytest.approx(float(expected), abs=1e-5)}
    assert watch(3).estimates() == {}


def test_a_branch_that_missed_a_stage_keeps_what_it_knew():
    maps = {index: torch.randn(2, side * side, 3) for index, side in enumerate(SIDES)}
    seen = watch(2, 3, 4)
    for index in (1, 2):
        seen.computed(1, index, maps[index], pictures=1)
    known = seen.estimates()
    seen.computed(1, 4, maps[4], pictures=1)  # stage 3 was reused
    assert seen.estimates() == known and known


def test_stages_before_those_that_may_reuse():
    assert stages_to_watch({8, 9}) == {7, 8}
    assert stages_to_watch({1, 2, 3}) == {2}
