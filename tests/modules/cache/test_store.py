"""The store: exact bytes, budgets, and no map that does not fit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hart.modules.cache.eviction import register_eviction
from hart.modules.cache.registries import EVICTIONS
from hart.modules.cache.store import FeatureStore


def tokens(side, rows=2, width=4, dtype=torch.float32):
    return torch.randn(rows, side * side, width).to(dtype)


def test_a_map_comes_back_with_its_side_and_without_a_copy():
    store, x_RnC = FeatureStore(), tokens(3)
    assert store.put(("attn", 0), 3, x_RnC)
    found = store.get(("attn", 0), like_RnC=tokens(5))
    assert found is not None
    assert found.side == 3
    assert found.x_RnC.data_ptr() == x_RnC.data_ptr()
    assert store.get(("mlp", 0), like_RnC=tokens(5)) is None
    assert store.fits(("attn", 0), tokens(5)) and not store.fits(("mlp", 0), tokens(5))


@pytest.mark.parametrize(
    "like",
    [tokens(5, rows=4), tokens(5, width=8), tokens(5, dtype=torch.bfloat16), torch.empty(2, 25, 4, device="meta")],
    ids=["rows", "channels", "dtype", "device"],
)
def test_a_map_that_does_not_fit_is_a_miss(like):
    store = FeatureStore()
    store.put("x", 3, tokens(3))
    assert store.get("x", like) is None
    assert store.get("x", tokens(5)) is not None


@pytest.mark.parametrize("x", [tokens(4), torch.zeros(9, 4), torch.zeros(1, 2, 9, 4)])
def test_what_is_no_map_of_the_side_is_refused(x):
    store = FeatureStore()
    with pytest.raises(ValueError, match=r"allowed for side 3 is \[rows, 9, C\]"):
        store.put("x", 3, x)
    assert len(store) == 0


def test_bytes_by_hand():
    store = FeatureStore()
    store.put("a", 2, tokens(2))  # 2 * 4 * 4 * 4 bytes
    store.put("b", 3, tokens(3, dtype=torch.bfloat16))  # 2 * 9 * 4 * 2 bytes
    assert store.current_bytes == store.peak_bytes == 128 + 144
    store.put("a", 1, tokens(1))
    assert store.current_bytes == 32 + 144
    assert store.peak_bytes == 272
    store.free("b")
    store.free("b")
    assert store.current_bytes == 32
    store.clear()
    assert (store.current_bytes, store.peak_bytes, len(store)) == (0, 272, 0)


@pytest.mark.parametrize("x", [tokens(4)[:, 3:7], tokens(2)[:1].expand(2, -1, -1)], ids=["slice", "broadcast"])
def test_a_view_is_copied_so_that_the_bytes_are_true(x):
    store = FeatureStore()
    store.put("x", 2, x)
    found = store.get("x", x)
    assert found.x_RnC.untyped_storage().nbytes() == found.num_bytes == store.current_bytes == 128
    assert torch.equal(found.x_RnC, x)


def test_gradients_are_left_behind():
    store = FeatureStore()
    store.put("x", 2, tokens(2).requires_grad_() * 2)
    assert store.get("x", tokens(2)).x_RnC.grad_fn is None


def test_free_where_the_plan_says_so():
    store = FeatureStore()
    for side in (1, 2, 3):
        store.put(("attn", side), side, tokens(side))
    store.free_where(lambda stored: stored.side < 3)
    assert [("attn", side) in store for side in (1, 2, 3)] == [False, False, True]
    assert store.current_bytes == 9 * 32


@pytest.mark.parametrize(
    ("rule", "gone"), [("oldest", "big"), ("largest", "big"), ("coarsest", "small"), ("unused", "middle")]
)
def test_the_rule_picks_what_goes(rule, gone):
    store = FeatureStore(budget_bytes=32 * 14, evict=EVICTIONS.get(rule))
    for key, side in (("big", 3), ("small", 1), ("middle", 2)):
        store.put(key, side, tokens(side))
    store.get("big", tokens(4))
    store.get("small", tokens(4))
    store.put("new", 1, tokens(1))
    assert [key for key in ("big", "small", "middle", "new") if key not in store] == [gone]
    assert store.num_evicted == 1


def test_replacing_a_map_counts_as_storing_it_anew():
    store = FeatureStore(budget_bytes=64)
    store.put("a", 1, tokens(1))
    store.put("b", 1, tokens(1))
    store.put("a", 1, tokens(1))
    store.put("c", 1, tokens(1))
    assert "b" not in store
    assert "a" in store


def test_a_map_larger_than_the_budget_is_refused_and_nothing_else_goes():
    store = FeatureStore(budget_bytes=64)
    store.put("a", 1, tokens(1))
    assert not store.put("b", 2, tokens(2))
    assert (len(store), store.num_refused, store.num_evicted) == (1, 1, 0)
    assert not store.put("a", 2, tokens(2))
    assert "a" not in store  # what was there belongs to an older stage


def test_an_own_rule_is_one_function_and_must_pick_from_what_it_gets():
    register_eviction("newest", lambda maps: maps[-1])
    try:
        store = FeatureStore(budget_bytes=64, evict=EVICTIONS.get("newest"))
        for key in "abc":
            store.put(key, 1, tokens(1))
        assert [key for key in "abc" if key in store] == ["a", "c"]
    finally:
        EVICTIONS.remove("newest")
    other = FeatureStore()
    other.put("x", 1, tokens(1))
    stranger = other.get("x", tokens(1))
    store = FeatureStore(budget_bytes=32, evict=lambda maps: stranger)
    store.put("a", 1, tokens(1))
    with pytest.raises(ValueError, match="allowed is one of the maps it was given"):
        store.put("b", 1, tokens(1))


@settings(max_examples=60, deadline=None)
@given(
    actions=st.lists(
        st.tuples(
            st.sampled_from("abcd"), st.integers(0, 4), st.sampled_from([torch.float32, torch.bfloat16]), st.booleans()
        ),
        max_size=25,
    ),
    budget=st.none() | st.integers(0, 3000),
    rule=st.sampled_from(["oldest", "largest", "coarsest", "unused"]),
)
def test_bytes_are_those_of_the_tensors_held(actions, budget, rule):
    store, peak = FeatureStore(budget, EVICTIONS.get(rule)), 0
    for key, side, dtype, read in actions:
        if side == 0:
            store.free(key)
        else:
            store.put(key, side, tokens(side, dtype=dtype))
        if read:
            store.get(key, tokens(1, dtype=dtype))
        held = sum(stored.x_RnC.untyped_storage().nbytes() for stored in store._maps.values())
        peak = max(peak, held)
        assert store.current_bytes == held
        assert store.peak_bytes == peak
        assert budget is None or held <= budget
