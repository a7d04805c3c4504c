"""Growing token maps: by hand, linear, in every dtype."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from hart.modules.cache.registries import INTERPOLATIONS
from hart.modules.cache.upsample import is_linear, register_interpolation, upsample, upsample_tokens

MODES = ["area", "bicubic", "bilinear", "nearest"]


def tokens(values):
    """One row of one-channel tokens."""
    return torch.tensor(values, dtype=torch.float32)[None, :, None]


def test_nearest_repeats_tokens():
    grown = upsample_tokens(tokens([1, 2, 3, 4]), 2, 4, "nearest")
    assert grown[0, :, 0].tolist() == [1, 1, 2, 2, 1, 1, 2, 2, 3, 3, 4, 4, 3, 3, 4, 4]


def test_bilinear_by_hand():
    """From 2 to 4 the centres lie at -0.25, 0.25, 0.75, 1.25 of the source: clamped at the border."""
    grown = upsample_tokens(tokens([0, 4, 8, 12]), 2, 4, "bilinear")[0, :, 0]
    assert grown[:4].tolist() == [0, 1, 3, 4]
    assert grown[4:8].tolist() == [2, 3, 5, 6]


def test_area_averages_the_source_pixels_that_a_target_overlaps():
    """From 2 to 3 the middle target overlaps both source pixels."""
    grown = upsample_tokens(tokens([0, 2, 4, 6]), 2, 3, "area")[0, :, 0]
    assert grown.tolist() == [0, 1, 2, 2, 3, 4, 4, 5, 6]


def test_bicubic_by_hand():
    """Cubic convolution with a = -0.75 at distances 1.25, 0.25, 0.75 and 1.75 of the four nearest source tokens."""
    a = -0.75
    near = [(a + 2) * d**3 - (a + 3) * d**2 + 1 for d in (0.25, 0.75)]
    far = [a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a for d in (1.25, 1.75)]
    columns = torch.tensor([0.0, 0, 1, 4, 2, 5, 0, 0]).repeat(8, 1)[None, None]
    expected = 1 * far[0] + 4 * near[0] + 2 * near[1] + 5 * far[1]  # target 7 lies at 3.25
    assert upsample(columns, 16, "bicubic")[0, 0, 8, 7].item() == pytest.approx(expected)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_tokens_keep_rows_channels_and_dtype(mode, dtype):
    x_RnC = torch.randn(3, 25, 6).to(dtype)
    grown = upsample_tokens(x_RnC, 5, 8, mode)
    assert grown.shape == (3, 64, 6)
    assert grown.dtype == dtype
    assert grown.is_contiguous()


@pytest.mark.parametrize("mode", MODES)
def test_rows_and_channels_do_not_mix(mode):
    x_RnC = torch.randn(2, 16, 3)
    alone = upsample_tokens(x_RnC[1:, :, 2:], 4, 6, mode)
    torch.testing.assert_close(upsample_tokens(x_RnC, 4, 6, mode)[1:, :, 2:], alone)


def test_same_side_comes_back_as_it_is():
    map_RChw = torch.randn(1, 2, 4, 4)
    assert upsample(map_RChw, 4, "bicubic") is map_RChw


@settings(max_examples=40, deadline=None)
@given(
    mode=st.sampled_from(MODES),
    from_side=st.integers(1, 9),
    step=st.integers(0, 8),
    rows=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_upsampling_a_sum_is_the_sum_of_upsampled(mode, from_side, step, rows, seed):
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(rows, from_side**2, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    together = upsample_tokens(a + b, from_side, from_side + step, mode)
    apart = [upsample_tokens(part, from_side, from_side + step, mode) for part in (a, b)]
    torch.testing.assert_close(together, apart[0] + apart[1], rtol=1e-10, atol=1e-10)


@settings(max_examples=30, deadline=None)
@given(mode=st.sampled_from(MODES), from_side=st.integers(1, 9), step=st.integers(0, 8))
def test_a_constant_map_stays_constant(mode, from_side, step):
    grown = upsample_tokens(torch.full((1, from_side**2, 2), 3.0), from_side, from_side + step, mode)
    torch.testing.assert_close(grown, torch.full((1, (from_side + step) ** 2, 2), 3.0))


def test_a_registered_mode_is_used_and_may_be_nonlinear():
    register_interpolation("loud", lambda map_RChw, side: F.interpolate(map_RChw, size=(side, side)) ** 2, linear=False)
    try:
        assert upsample_tokens(tokens([3]), 1, 2, "loud")[0, :, 0].tolist() == [9, 9, 9, 9]
        assert not is_linear("loud")
        assert all(is_linear(mode) for mode in MODES)
    finally:
        INTERPOLATIONS.remove("loud")


def test_a_registered_mode_that_gives_another_shape_is_named():
    register_interpolation("broken", lambda map_RChw, side: map_RChw)
    try:
        with pytest.raises(
            ValueError, match=r"'broken' gave torch.float32 \[1, 1, 2, 2\]; allowed is .*\[1, 1, 3, 3\]"
        ):
            upsample_tokens(tokens([1, 2, 3, 4]), 2, 3, "broken")
    finally:
        INTERPOLATIONS.remove("broken")


def test_tokens_that_are_no_map_are_refused():
    with pytest.raises(ValueError, match="from_side is 3; allowed is the side of a map of 4 tokens"):
        upsample_tokens(tokens([1, 2, 3, 4]), 3, 4, "bilinear")
