"""The object that blocks see, on toy blocks whose sums are checked by hand."""

import pytest
import torch

from hart.modules.cache import stage_cache
from hart.modules.cache.config import HARTCacheConfig
from hart.modules.cache.stage_cache import INPUT
from tests.modules.cache.toys import ToyRun

ALWAYS = {"threshold": 0.0, "skip_stages": [16, 64], "cache_stages": [4, 16]}


@pytest.fixture
def grown(monkeypatch):
    """(from, to) of every upsampling."""
    calls: list[tuple[int, int]] = []
    upsample = stage_cache.upsample_tokens

    def note(x_RnC, from_side, to_side, *rest):
        calls.append((from_side, to_side))
        return upsample(x_RnC, from_side, to_side, *rest)

    monkeypatch.setattr(stage_cache, "upsample_tokens", note)
    return calls


def kept(run: ToyRun) -> dict[object, int]:
    """Sides of the stored maps by key."""
    return {key: entry.side for key, entry in run.cache.store._maps.items()}


@pytest.mark.parametrize("table", [None, {(k, n, s): 0.9 for k in ("attn", "mlp") for n in (0, 1) for s in (16, 64)}])
def test_a_static_full_skip_is_one_upsampling_and_one_map(grown, table):
    settings = ALWAYS | {"attn_kv": "drop", "threshold": 0.0 if table is None else 0.5}
    run = ToyRun(HARTCacheConfig(**settings), table=table)
    run.stage(0)
    run.stage(1)
    assert kept(run) == {(0, 3): 2}  # attention and MLP of both layers in one sum, and no input
    out = run.stage(2)
    assert grown == [(2, 4)] and kept(run) == {(0, 3): 4}
    assert torch.equal(out, torch.full_like(out, 1 + 10 + 11 + 12 + 13))
    assert torch.equal(run.stage(3), torch.full((2, 64, 2), 47.0))
    assert grown == [(2, 4), (4, 8)] and kept(run) == {}
    assert [index for index, _, _ in run.computed] == [0] * 4 + [1] * 4


def test_keys_and_values_need_one_map_per_layer(grown):
    run = ToyRun(HARTCacheConfig(**ALWAYS | {"skip_stages": [16], "cache_stages": [4]}))
    run.stage(0)
    run.stage(1)
    assert kept(run) == {(0, 1): 2, (2, 3): 2}
    out = run.stage(2)
    assert torch.equal(out, torch.full_like(out, 47)) and len(grown) == 2
    assert [block.appended for block in run.blocks] == [[16], [16]]


def test_branches_that_decisions_split_are_kept_apart():
    table = {("attn", 0, 64): 0.9, ("mlp", 0, 64): 0.9, ("attn", 1, 64): 0.1, ("mlp", 1, 64): 0.9}
    settings = HARTCacheConfig(skip_stages=[64], cache_stages=[16], threshold=0.5)
    run = ToyRun(settings, table=table)
    out = run.run()[3]
    assert run.cache.plan.fused_runs == ((0, 1), (2, 2), (3, 3))
    assert torch.equal(out, torch.full_like(out, 1 + 20 + 21 + 32 + 23))
    run.cache.finish()
    counted = run.statistics.to_dict()
    assert (counted["hits"], counted["misses"]["dissimilar"]) == (3, 1)


def test_a_mode_that_is_not_linear_grows_every_map_by_itself(grown, monkeypatch):
    monkeypatch.setattr("hart.modules.cache.plan.is_linear", lambda mode: False)
    run = ToyRun(HARTCacheConfig(**ALWAYS | {"skip_stages": [64], "cache_stages": [16]}))
    out = run.run()[3]
    assert len(grown) == 4 and torch.equal(out, torch.full_like(out, 1 + 20 + 21 + 22 + 23))


# -- the input of the kept stage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, stored, upsampled",
    [
        ({"threshold": 0.0}, False, 0),
        ({"refresh_ratio": {64: 0.5}}, False, 0),
        ({"refresh_ratio": {64: 0.5}, "token_selector": "edge"}, False, 0),
        ({"refresh_ratio": {64: 0.5}, "token_selector": "random"}, False, 0),
        ({"refresh_ratio": {64: 0.5}, "token_selector": "fhat_cosine"}, False, 0),
        ({"refresh_ratio": {64: 0.5}, "token_selector": "change"}, True, 1),
        ({"refresh_ratio": {64: 0.5}, "token_selector": "change", "select_per_branch": True}, True, 1),
        ({"refresh_ratio": {64: 0.5}, "unselected": "nothing"}, False, 0),
        ({"refresh_ratio": {64: 0.5}, "unselected": "nothing", "token_selector": "change"}, True, 1),
        ({"unselected": "nothing", "token_selector": "change", "threshold": 0.5}, False, 0),
    ],
)
def test_the_input_is_stored_and_grown_only_where_something_reads_it(grown, changes, stored, upsampled):
    run = ToyRun(HARTCacheConfig(**{"skip_stages": [64], "cache_stages": [16], "threshold": 0.0} | changes))
    for index in range(3):
        run.stage(index)
    assert (INPUT in run.cache.store) == stored
    fused_runs = len(run.cache.store) - stored
    run.stage(3)
    refreshed = "refresh_ratio" in changes
    assert len(grown) - upsampled == (fused_runs if refreshed else min(fused_runs, 1))


@pytest.mark.parametrize("estimator", ["auto", "online"])
def test_estimates_need_no_input(estimator):
    table = {(kind, layer, 64): 0.9 for kind in ("attn", "mlp") for layer in (0, 1)}
    settings = HARTCacheConfig(skip_stages=[64], cache_stages=[16], threshold=0.5, estimator=estimator)
    run = ToyRun(settings, table=table)
    for index in range(3):
        run.stage(index)
    assert INPUT not in run.cache.store


# -- what is kept, and for how long ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "skip, cache, kept_after",
    [
        ([64], [4, 16], [set(), set(), {4}, set()]),  # stage 4 is no source of anything
        ([16, 64], [1], [{1}, {1}, {1}, set()]),
        ([16], [1, 4, 16], [set(), {2}, set(), set()]),
        ([4, 64], [1, 4, 16], [{1}, set(), {4}, set()]),
        ([4], [1, 64], [{1}, set(), set(), set()]),
    ],
)
@pytest.mark.parametrize("unselected", ["reuse", "nothing"])
def test_a_map_is_kept_from_its_stage_to_its_last_reader(skip, cache, kept_after, unselected):
    settings = {"skip_stages": skip, "cache_stages": cache, "threshold": 0.0, "token_selector": "change"}
    settings |= {"unselected": unselected, "refresh_ratio": dict.fromkeys(skip, 0.25)}
    run = ToyRun(HARTCacheConfig(**settings))
    for index, sides in enumerate(kept_after):
        run.stage(index)
        assert set(kept(run).values()) == sides, index


def test_a_stage_that_runs_no_token_still_keeps_its_input_and_frees_the_last():
    settings = {"skip_stages": [16, 64], "cache_stages": [4, 16], "unselected": "nothing", "token_selector": "change"}
    run = ToyRun(HARTCacheConfig(refresh_ratio={64: 0.5}, threshold=0.0, **settings))
    run.stage(0)
    run.stage(1)
    assert kept(run) == {}
    assert run.stage(2).shape[1] == 0 and kept(run) == {INPUT: 4}
    assert run.stage(3).shape[1] == 32 and kept(run) == {}


# -- maps that do not fit, stages computed in full ---------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"refresh_ratio": {64: 0.5}}, {"threshold": 0.5}])
@pytest.mark.parametrize("change", ["dtype", "rows"])
def test_a_map_that_does_not_fit_is_an_empty_miss(change, settings):
    given = {"skip_stages": [64], "cache_stages": [16], "threshold": 0.0} | settings
    run = ToyRun(HARTCacheConfig(**given))
    for index in range(3):
        run.stage(index)
    rows = 6 if change == "rows" else 2
    x_RnC = torch.ones(rows, 64, 2, dtype=torch.bfloat16 if change == "dtype" else torch.float32)
    out = run.stage(3, x_RnC)
    assert torch.equal(out, torch.full_like(out, 1 + 30 + 31 + 32 + 33))
    run.cache.finish()
    counted = run.statistics.to_dict()
    assert (counted["hits"], counted["misses"]["empty"]) == (0, 4)


def test_a_refresh_of_all_tokens_is_no_decision():
    given = {"skip_stages": [16, 64], "cache_stages": [4, 16], "threshold": 0.0}
    run = ToyRun(HARTCacheConfig(refresh_ratio={16: 1.0, 64: 1}, **given))
    run.stage(0)
    run.stage(1)
    assert len(run.cache.store) == 0
    out = run.stage(2)
    assert torch.equal(out, torch.full_like(out, 1 + 20 + 21 + 22 + 23))
    run.stage(3)
    run.cache.finish()
    counted = run.statistics.to_dict()
    assert counted["hits"] == 0 and counted["misses"] == {"dissimilar": 0, "empty": 0}


def test_refreshed_tokens_by_hand():
    settings = HARTCacheConfig(skip_stages=[64], cache_stages=[16], threshold=0.0, refresh_ratio={64: 0.25})
    run = ToyRun(settings)
    for index in range(3):
        run.stage(index)
    x_RnC = torch.zeros(2, 64, 2)
    x_RnC[:, :16] = 9  # farthest from the mean token
    out = run.stage(3, x_RnC)
    assert torch.equal(out[:, :16], torch.full((2, 16, 2), 9.0 + 30 + 31 + 32 + 33))
    assert torch.equal(out[:, 16:], torch.full((2, 48, 2), 20.0 + 21 + 22 + 23))
