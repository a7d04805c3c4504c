"""PSNR of 8-bit pictures, by scikit-image."""

import numpy as np
from numpy.typing import NDArray

PSNR_CAP = 100.0
"""What stands in results for the infinite PSNR of two pictures that are the same."""


def psnr(picture: NDArray[np.uint8], reference: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB of pictures of one shape; infinite where they are the same."""
    from skimage.metrics import peak_signal_noise_ratio

    with np.errstate(divide="ignore"):
        return float(peak_signal_noise_ratio(reference, picture, data_range=255))
