"""Widths of the two MLP flavours."""

import pytest

from hart.modules.networks.mlp import build_mlp


@pytest.mark.parametrize(("dim", "ratio", "width"), [(1536, 4.0, 4096), (64, 4.0, 256), (32, 4.0, 256), (96, 4.0, 256)])
def test_llama_width_is_two_thirds_rounded_to_256(dim, ratio, width):
    assert build_mlp("llama", dim, ratio).gate_proj.out_features == width


def test_gpt2_width_is_the_ratio():
    assert build_mlp("gpt2", 48, 2.5).fc1.out_features == 120
