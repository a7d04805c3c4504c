"""Metrics, by hand arithmetic."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hart.modules.cache.registries import METRICS
from hart.modules.cache.similarity import register_metric, similarity

NAMES = ["cosine", "centred_cosine", "relative_l2"]


def row(*tokens):
    return torch.tensor(tokens, dtype=torch.float32)[None]


def test_cosine_is_the_mean_over_tokens():
    reused, computed = row((1, 0), (1, 0)), row((2, 0), (3, 3))
    assert similarity(reused, computed).item() == pytest.approx((1 + math.sqrt(0.5)) / 2)


def test_centring_takes_the_common_direction_away():
    """Tokens (10, 1) and (10, -1) against (10, -1) and (10, 1): nearly parallel, opposite once centred."""
    reused, computed = row((10, 1), (10, -1)), row((10, -1), (10, 1))
    assert similarity(reused, computed).item() == pytest.approx(99 / 101)
    assert similarity(reused, computed, "centred_cosine").item() == pytest.approx(-1)


def test_relative_l2_sees_size():
    computed = row((3, 4))
    assert similarity(computed / 2, computed, "relative_l2").item() == pytest.approx(0.5)
    assert similarity(torch.zeros_like(computed), computed, "relative_l2").item() == 0
    assert similarity(-computed, computed, "relative_l2").item() == pytest.approx(-1)


def test_rows_are_judged_apart():
    reused, computed = torch.tensor([[[1.0, 0]], [[1.0, 0]]]), torch.tensor([[[1.0, 0]], [[0.0, 1]]])
    assert similarity(reused, computed).tolist() == [1, 0]


@pytest.mark.parametrize("name", NAMES)
def test_equal_outputs_have_similarity_one_even_where_they_are_zero(name):
    x_RnC = torch.randn(2, 4, 8)
    x_RnC[1] = 0
    x_RnC[0, 0] = 0
    torch.testing.assert_close(similarity(x_RnC, x_RnC.clone(), name), torch.ones(2))


def test_zero_against_something_is_no_likeness():
    assert similarity(torch.zeros(1, 2, 3), torch.ones(1, 2, 3)).item() == 0


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_judged_in_float32(name):
    x_RnC = (torch.randn(1, 16, 32) * 100).half()
    value = similarity(x_RnC, x_RnC * 2, name)
    assert value.dtype == torch.float32
    assert torch.isfinite(value).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.floats(0.01, 100))
def test_cosine_lies_in_range_and_ignores_scale(seed, scale):
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(2, 5, 4, generator=generator) for _ in range(2))
    for name in ("cosine", "centred_cosine"):
        value = similarity(a, b, name)
        assert (value.abs() <= 1).all()
        torch.testing.assert_close(similarity(a * scale, b, name), value, atol=1e-4, rtol=1e-4)


def test_a_registered_metric_is_used_and_checked():
    register_metric("zero", lambda reused, computed: reused.new_zeros(len(reused)))
    register_metric("wrong", lambda reused, computed: reused.mean())
    try:
        assert similarity(torch.ones(2, 1, 1), torch.ones(2, 1, 1), "zero").tolist() == [0, 0]
        with pytest.raises(ValueError, match="'wrong' gave"):
            similarity(torch.ones(2, 1, 1), torch.ones(2, 1, 1), "wrong")
    finally:
        METRICS.remove("zero")
        METRICS.remove("wrong")


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"reused is \[1, 1, 1\]; allowed is the shape \[1, 4, 1\]"):
        similarity(torch.ones(1, 1, 1), torch.ones(1, 4, 1))
