"""Peak signal-to-noise ratio of pictures to a reference."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PSNR_CAP = 100.0
"""What stands in results for the infinite PSNR of two pictures that are the same, in dB."""


def psnr(images: Tensor | None, reference: Tensor | None) -> list[float]:
    """PSNR in dB of each picture [N, 3, H, W] in 0 to 1; infinite where two are equal, no values without pictures."""
    if images is None or reference is None:
        return []
    squared_N = (images.double() - reference.double()).square().flatten(1).mean(1)
    return [float(value) for value in -10 * torch.log10(squared_N)]


def psnr_of_bytes(picture: NDArray[np.uint8], reference: NDArray[np.uint8]) -> float:
    """PSNR in dB of two 8-bit pictures of one shape [H, W, 3]; infinite where they are the same."""
    one, other = (torch.tensor(pixels, dtype=torch.float64)[None] / 255 for pixels in (picture, reference))
    return psnr(one, other)[0]
