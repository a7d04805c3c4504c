"""PSNR by hand and against scikit-image."""

import numpy as np
import pytest
import torch

from hart.utils.psnr import psnr, psnr_of_levels


def test_each_picture_is_compared_with_its_own():
    reference = torch.zeros(2, 3, 4, 4)
    images = torch.stack([reference[0], reference[1] + 0.1])
    same, near = psnr(images, reference)
    assert same == float("inf") and near == pytest.approx(20, abs=1e-5)
    assert psnr(None, reference) == psnr(images, None) == []


def test_bytes_reach_from_zero_to_infinity():
    black = np.zeros((4, 4, 3), np.uint8)
    assert psnr_of_levels(black, black) == float("inf")
    assert psnr_of_levels(black + np.uint8(255), black) == 0


def test_bytes_give_what_scikit_image_gives():
    metrics = pytest.importorskip("skimage.metrics")
    one, other = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), dtype=np.uint8)
    assert psnr_of_levels(one, other) == pytest.approx(
        metrics.peak_signal_noise_ratio(other, one, data_range=255), abs=1e-9
    )
