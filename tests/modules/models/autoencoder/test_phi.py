"""Which phi convolution serves which stage, and what it computes."""

import pytest
import torch
from torch.nn import functional as F

from hart.modules.models.autoencoder.quantize.phi import PhiConv, build_phi, phi_index
from tests.golden import load

PUBLISHED = load("units")[1]["tensors_checksums"]["phi_index"]


@pytest.mark.parametrize("key", PUBLISHED)
def test_the_choice_is_the_published_one(key):
    count, stages = (int(part.lstrip("sharedK")) for part in key.split("."))
    assert [phi_index(stage, stages, count) for stage in range(stages)] == PUBLISHED[key]


def test_the_convolution_is_mixed_with_the_identity():
    phi, h = PhiConv(2, -0.25), torch.randn(1, 2, 4, 4)
    expected = 0.75 * h + 0.25 * F.conv2d(h, phi.weight, phi.bias, padding=1)
    torch.testing.assert_close(phi(h), expected)


@pytest.mark.parametrize(
    ("ratio", "share", "keys"),
    [
        (0.5, 0, {f"{j}.{part}" for j in range(3) for part in ("weight", "bias")}),
        (0.5, 1, {"qresi.weight", "qresi.bias"}),
        (0.5, 2, {f"qresi_ls.{j}.{part}" for j in range(2) for part in ("weight", "bias")}),
        (0.0, 4, set()),
    ],
)
def test_parameter_names(ratio, share, keys):
    assert set(build_phi(4, ratio, share, num_stages=3).state_dict()) == keys


def test_without_phi_a_map_passes_unchanged():
    h = torch.randn(1, 4, 2, 2)
    assert build_phi(4, 0.0, 4, num_stages=3).select(0, 3)(h) is h
