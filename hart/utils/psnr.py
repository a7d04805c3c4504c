"""Peak signal-to-noise ratio of pictures to a reference."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

PSNR_CAP = 100.0
"""What stands in results for the infinite PSNR of two pictures that are the same, in dB."""


def psnr(images: "Tensor | None", reference: "Tensor | None") -> list[float]:
    """PSNR in dB of each picture [N, 3, H, W] in 0 to 1; infinite where two are equal, no values without pictures."""
    if images is None or reference is None:
        return []
    squared_N = (images.double() - reference.double()).square().flatten(1).mean(1)
    return [_decibels(float(squared)) for squared in squared_N]


def psnr_of_levels(picture: NDArray[Any], reference: NDArray[Any]) -> float:
    """PSNR in dB of two pictures of one shape, levels 0 to 255; infinite where they are the same."""
    return _decibels(float(np.square((picture.astype(np.float64) - reference) / 255).mean()))


def capped_psnr(picture: NDArray[Any], reference: NDArray[Any]) -> float:
    """`psnr_of_levels`, at most `PSNR_CAP`, for results that must be finite."""
    return min(PSNR_CAP, psnr_of_levels(picture, reference))


def in_decibels(value: float) -> str:
    """A PSNR in words; two pictures that are the same have an infinite one."""
    return f"{value:.1f} dB" if math.isfinite(value) else "equal"


def _decibels(squared: float) -> float:
    return -10 * math.log10(squared) if squared else math.inf
