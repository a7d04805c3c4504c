"""Decisions by hand: which estimate meets which threshold."""

import pytest

from hart.modules.cache.adaptive import AdaptiveThresholds
from hart.modules.cache.config import HARTCacheConfig
from hart.modules.cache.plan import StagePlan
from hart.modules.cache.policy import Policy

PLAN = StagePlan(3, 8, reusable=frozenset(range(4)), source=2)


def policy(table=None, adaptive=None, **settings) -> Policy:
    return Policy(HARTCacheConfig(**settings), table, adaptive or AdaptiveThresholds())


def never() -> None:
    raise AssertionError("nothing should ask what the run saw")


def test_a_threshold_of_0_asks_for_nothing():
    rules = policy(threshold=0.0)
    assert rules.estimates(PLAN, never) == {}
    assert rules.accepts(PLAN, "attn", 0, None) and not rules.asks_online(PLAN)
    assert policy(threshold=0.0, mlp_threshold=0.5).asks_online(PLAN)


def test_a_table_answers_alone():
    table = {("attn", 0, 64): 0.9, ("mlp", 1, 64): 0.2, ("attn", 1, 16): 0.9}
    rules = policy(table, threshold=0.5)
    assert rules.estimates(PLAN, never) == {("attn", 0): 0.9, ("mlp", 1): 0.2}
    assert rules.accepts(PLAN, "attn", 0, 0.9) and not rules.accepts(PLAN, "mlp", 1, 0.2)
    assert not rules.accepts(PLAN, "mlp", 0, None)
    assert policy(table, threshold=0.5, estimator="online").asks_online(PLAN) and not rules.asks_online(PLAN)


def test_online_estimates_are_what_the_run_saw():
    seen = {0: 0.9, 3: 0.2, 7: 0.5}  # attention of layer 0, MLP of layers 1 and 3
    assert policy(threshold=0.5).estimates(PLAN, lambda: seen) == {("attn", 0): 0.9, ("mlp", 1): 0.2}


def test_the_threshold_is_configured_scheduled_and_adapted():
    assert policy(threshold=0.5, mlp_threshold=0.7).threshold(PLAN, "mlp", 0) == 0.7
    assert policy(threshold=0.8, threshold_schedule="rising").threshold(PLAN, "attn", 0) == pytest.approx(0.7)
    adaptive = AdaptiveThresholds()
    adaptive.observe([("attn", 1, 0.9)] * 10)
    rules = policy(adaptive=adaptive, threshold=0.8, adaptive_threshold=True)
    assert rules.threshold(PLAN, "attn", 1) == pytest.approx(0.9)
    assert rules.threshold(PLAN, "attn", 0) == rules.threshold(PLAN, "mlp", 1) == 0.8


def signatures(rules: Policy) -> int:
    return len({str(rules.signature([PLAN], kind, layer)) for kind in ("attn", "mlp") for layer in (0, 1)})


def test_branches_that_are_always_decided_alike_have_one_signature():
    assert signatures(policy(threshold=0.0)) == 1
    assert signatures(policy(threshold=0.0, mlp_threshold=0.5)) == 3  # each MLP has an estimate of its own
    whole = {(kind, layer, 64): 0.9 for kind in ("attn", "mlp") for layer in (0, 1)}
    assert signatures(policy(whole, threshold=0.5)) == 1
    assert signatures(policy(whole | {("mlp", 0, 64): 0.1}, threshold=0.5)) == 2
