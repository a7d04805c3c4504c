"""PSNR of 8-bit pictures; it needs numpy alone, as the report does."""

import numpy as np
from numpy.typing import NDArray

PSNR_CAP = 100.0
"""What stands in results for the infinite PSNR of two pictures that are the same."""


def psnr(picture: NDArray[np.uint8], reference: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB of pictures of one shape; infinite where they are the same."""
    mean_square = np.mean((picture.astype(np.float64) - reference) ** 2)
    return float(10 * np.log10(255**2 / mean_square)) if mean_square else float("inf")
