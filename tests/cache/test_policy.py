"""Decisions by hand: which estimate meets which threshold."""

import pytest
import torch

from hart.modules.cache.adaptive import AdaptiveThresholds
from hart.modules.cache.no_cache import StageStart
from hart.modules.cache.plan import StagePlan
from hart.modules.cache.policy import Policy, input_similarity, map_similarity
from hart.modules.cache_config import HARTCacheConfig

PLAN = StagePlan(3, 8, reusable=frozenset(range(4)), source=2)


def policy(table=None, adaptive=None, **settings) -> Policy:
    return Policy(HARTCacheConfig(**settings), table, adaptive or AdaptiveThresholds())


def start(x_RnC=None, before=None, after=None) -> StageStart:
    empty = torch.zeros(1, 1, 1, 1)
    return StageStart(
        3, torch.ones(2, 4, 2) if x_RnC is None else x_RnC, empty if before is None else before,
        empty if after is None else after,
    )  # fmt: skip


def never() -> None:
    raise AssertionError("nothing should ask for the kept stage's input")


def test_a_threshold_of_0_asks_for_nothing():
    rules = policy(threshold=0.0)
    assert rules.estimates(PLAN, start(), never) == {}
    assert rules.accepts(PLAN, "attn", 0, None) and not rules.reads_input(PLAN)
    assert policy(threshold=0.0, mlp_threshold=0.5).reads_input(PLAN)


def test_a_table_answers_without_the_input():
    table = {("attn", 0, 64): 0.9, ("mlp", 1, 64): 0.2, ("attn", 1, 16): 0.9}
    rules = policy(table, threshold=0.5)
    assert rules.estimates(PLAN, start(), never) == {("attn", 0): 0.9, ("mlp", 1): 0.2}
    assert rules.accepts(PLAN, "attn", 0, 0.9) and not rules.accepts(PLAN, "mlp", 1, 0.2)
    assert not rules.accepts(PLAN, "mlp", 0, None)
    assert policy(table, threshold=0.5, estimator="online").reads_input(PLAN) and not rules.reads_input(PLAN)


def test_an_input_estimate_is_the_least_over_the_batch():
    x_RnC = torch.tensor([[1.0, 0.0], [1.0, 0.0]])[:, None].repeat(1, 4, 1)
    previous_RnC = torch.tensor([[1.0, 0.0], [0.6, 0.8]])[:, None].repeat(1, 4, 1)
    assert input_similarity(start(x_RnC), previous_RnC, "cosine") == pytest.approx(0.6)


def test_a_map_estimate_is_the_least_over_the_batch():
    before = torch.tensor([[1.0, 0.0], [1.0, 0.0]])[..., None, None]
    after = torch.tensor([[2.0, 0.0], [0.8, 0.6]])[..., None, None]
    assert map_similarity(start(before=before, after=after), before, "cosine") == pytest.approx(0.8)


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
    assert signatures(policy(threshold=0.0, mlp_threshold=0.5)) == 2
    whole = {(kind, layer, 64): 0.9 for kind in ("attn", "mlp") for layer in (0, 1)}
    assert signatures(policy(whole, threshold=0.5)) == 1
    assert signatures(policy(whole | {("mlp", 0, 64): 0.1}, threshold=0.5)) == 2
