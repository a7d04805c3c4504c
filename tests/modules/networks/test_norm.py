"""The RMS norm against the published numbers, and its gradients, which the published code cut off."""

import pytest
import torch

from hart.modules.networks.norm import RMSNorm, build_norm
from tests.golden import load

UNITS, _ = load("units")


def recorded_norm() -> RMSNorm:
    norm = RMSNorm(64, eps=1e-6)
    norm.weight.data.copy_(UNITS["rms.w"])
    return norm


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_output_equals_the_published_one_in_every_dtype(dtype):
    out = recorded_norm()(UNITS["rms.x"].to(dtype))
    assert out.dtype == dtype
    limit = max(1e-6, torch.finfo(dtype).eps)  # a square root that rounds otherwise moves the last place by one
    torch.testing.assert_close(out, UNITS[f"rms.out.{str(dtype)[6:]}"].to(dtype), rtol=limit, atol=limit * 1e-3)


def test_the_weight_keeps_its_dtype_and_gets_gradients():
    norm = recorded_norm()
    x = UNITS["rms.x"].to(torch.float16).requires_grad_()
    norm(x).sum().backward()
    assert norm.weight.dtype == torch.float32
    assert norm.weight.grad.abs().sum() > 0
    assert x.grad.abs().sum() > 0


def test_a_row_of_zeros_stays_zero():
    assert not recorded_norm()(torch.zeros(2, 64)).any()


@pytest.mark.parametrize(
    ("flavour", "affine", "keys"),
    [
        ("llama", False, {"weight"}),
        ("llama", True, {"weight"}),
        ("gpt2", False, set()),
        ("gpt2", True, {"weight", "bias"}),
    ],
)
def test_which_norms_own_parameters(flavour, affine, keys):
    assert set(build_norm(flavour, 8, 1e-6, affine).state_dict()) == keys
