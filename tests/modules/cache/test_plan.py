"""Plans by hand: what each stage may do, what is kept, and which branches share a sum."""

import pytest

from hart.modules.cache.config import HARTCacheConfig
from hart.modules.cache.plan import branch_at, build_plan, index_of_branch, source_of

SIDES, DEPTH = (1, 2, 4, 8), 2


def alike(skipped, kind, layer):
    """Nothing splits."""
    return ()


def settings(**changes):
    return HARTCacheConfig(**({"skip_stages": [16, 64], "cache_stages": [4, 16], "threshold": 0.0} | changes))


def test_places_are_the_order_in_which_branches_run():
    assert [index_of_branch(*branch_at(place)) for place in range(8)] == list(range(8))
    assert [branch_at(place) for place in (0, 1, 4, 5)] == [("attn", 0), ("mlp", 0), ("attn", 2), ("mlp", 2)]


def test_each_stage_by_hand():
    plan = build_plan(settings(drop_stages=[]), SIDES, DEPTH, alike)
    assert [stage.tokens for stage in plan.stages] == [1, 4, 16, 64]
    assert [sorted(stage.reusable) for stage in plan.stages] == [[], [], [0, 1, 2, 3], [0, 1, 2, 3]]
    assert [stage.source for stage in plan.stages] == [None, None, 1, 2]
    assert [stage.store for stage in plan.stages] == [False, True, True, False]
    assert [stage.tokens for stage in plan.readers(1)] == [16, 64]


@pytest.mark.parametrize(
    "changes, stored",
    [
        ({"skip_stages": [64]}, [16]),
        ({"skip_stages": [16]}, [4]),
        ({"skip_stages": [16, 64], "cache_stages": [1, 4]}, [4]),
        ({"skip_stages": [4, 64], "cache_stages": [1, 4, 16]}, [1, 16]),
        ({"refresh_ratio": {16: 1.0}}, [16]),
        ({"unselected": "nothing"}, []),
        ({"layers": []}, []),
    ],
)
def test_outputs_are_kept_only_where_the_next_cache_stage_comes_too_late(changes, stored):
    plan = build_plan(settings(**changes), SIDES, DEPTH, alike)
    assert [stage.tokens for stage in plan.stages if stage.store] == stored


def test_the_source_is_the_last_cache_stage_before():
    config = settings(cache_stages=[1, 16])
    assert [source_of(config, SIDES, index) for index in range(4)] == [None, 0, 0, 2]


@pytest.mark.parametrize(
    "changes, fused_runs",
    [
        ({"attn_kv": "drop"}, ((0, 3),)),
        ({}, ((0, 3),)),  # nothing computes attention after stage 16
        ({"skip_stages": [16]}, ((0, 1), (2, 3))),  # keys of layer 1 are projected between
        ({"skip_stages": [16], "enable_mlp_cache": False}, ((0, 0), (2, 2))),
        ({"attn_kv": "drop", "attn_layers": [1]}, ((1, 3),)),
        ({"attn_kv": "drop", "mlp_layers": []}, ((0, 0), (2, 2))),
        ({"refresh_ratio": {64: 0.5}}, ((0, 0), (1, 1), (2, 2), (3, 3))),
        ({"refresh_ratio": {64: 1.0}, "attn_kv": "drop"}, ((0, 3),)),
        ({"unselected": "nothing"}, ()),
    ],
)
def test_fused_runs(changes, fused_runs):
    assert build_plan(settings(**changes), SIDES, DEPTH, alike).fused_runs == fused_runs


def test_decisions_that_differ_split_fused_runs():
    def by_kind(skipped, kind, layer):
        assert [stage.tokens for stage in skipped] == [16, 64]
        return kind if layer else "same"

    plan = build_plan(settings(attn_kv="drop"), SIDES, DEPTH, by_kind)
    assert plan.fused_runs == ((0, 1), (2, 2), (3, 3))
    assert build_plan(settings(attn_kv="drop"), SIDES, DEPTH).fused_runs == ((0, 0), (1, 1), (2, 2), (3, 3))
    assert len(build_plan(settings(attn_kv="drop"), SIDES, DEPTH, alike, linear=False).fused_runs) == 4


@pytest.mark.parametrize(
    "changes, rounds, appended",
    [
        ({}, 1, [True, False, False, False]),
        ({}, 2, [True, True, True, False]),
        ({"memory_budget_mb": 1.0}, 1, [True, True, True, False]),
        ({"threshold": 0.5}, 1, [True, True, True, False]),
        ({"enable_attn_cache": False}, 1, [True, True, True, False]),
        ({"corrector_layers": 1}, 1, [True, True, True, False]),
        ({"refresh_ratio": {64: 0.5}}, 1, [True, True, True, False]),
        ({"skip_stages": [16], "drop_stages": [64]}, 1, [True, False, False, False]),
        ({"attn_kv": "drop"}, 2, [False] * 4),
    ],
)
def test_keys_are_appended_while_attention_may_read_them(changes, rounds, appended):
    plan = build_plan(settings(**changes), SIDES, DEPTH, alike, rounds=rounds)
    assert [stage.append_kv for stage in plan.stages] == appended


def test_rounds_leave_no_whole_map_to_reuse_or_to_keep_for():
    plan = build_plan(settings(), SIDES, DEPTH, alike, rounds=2)
    assert plan.stages[3].reusable == frozenset() and not plan.stages[2].store
