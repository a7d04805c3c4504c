"""How near a picture comes to the truth, where there is one: captions of the embedded model's world."""

from torch import Tensor

from hart.evaluation.fidelity import fidelity
from hart.utils.images import to_numpy


def psnr_to_truth(image: Tensor, prompt: str) -> float | None:
    """Return the PSNR in dB, in the object's box, to the picture that a caption describes.

    Args:
        image: [1, 3, H, W] in 0 to 1.
        prompt: what it should show.

    Returns:
        None where the prompt is no caption of that world, or the picture has another size.
    """
    try:
        return float(fidelity(to_numpy(image), [prompt], ssim=False).psnr[0])
    except ValueError:
        return None
