"""How near pictures come to the truth: the picture that a caption describes, composed from the artwork.

The prompt score says whether the right object is there; fidelity says how well it is painted. It is judged in the
object's box, because the plain background around it is easy.

Shapes: B pictures of 128 x 128 pixels.
"""

import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hart.evaluation.artwork import true_pictures
from hart.evaluation.scenes import CANVAS, parse_caption
from hart.evaluation.statistics import Table
from hart.utils.intervals import mean_interval
from hart.utils.psnr import capped_psnr

SSIM_WINDOW = 7
"""Side in pixels of the window over which SSIM compares."""

MEASURES = ("psnr", "ssim", "sharpness", "picture_psnr", "picture_ssim")


@dataclass(frozen=True)
class Fidelity:
    """How near each of B pictures comes to the truth.

    Args:
        captions: what the pictures should show.
        psnr: float64 [B], dB in the object's box, at most 100.
        ssim: float64 [B], structural similarity there (Wang et al., 2004), 1 for the truth; None if left out.
        sharpness: float64 [B], mean absolute gradient there over the truth's: below 1 is softer, above 1 has more edges
            or more noise.
        picture_psnr, picture_ssim: the same as `psnr` and `ssim` over the whole picture.
    """

    captions: tuple[str, ...]
    psnr: np.ndarray
    ssim: np.ndarray | None
    sharpness: np.ndarray
    picture_psnr: np.ndarray
    picture_ssim: np.ndarray | None

    def summary(self) -> Table:
        """Mean of every measure with its 95% interval; pictures of one caption count as one witness.

        Returns:
            Per measure `value`, `low` and `high`; no limits where there are fewer than two captions.
        """
        return {name: _row(getattr(self, name), self.captions) for name in self._measured()}

    def minus(self, other: "Fidelity") -> Table:
        """Mean paired difference of every measure to pictures of the same captions, with its 95% interval.

        Args:
            other: what is subtracted; its pictures in the same order, best painted with the same seeds.

        Returns:
            As `summary`; positive where these pictures have more of the measure.

        Raises:
            ValueError: if the captions are not the same.
        """
        if self.captions != other.captions:
            raise ValueError(
                f"other must be the fidelity of pictures of the same {len(self.captions)} captions in the same order, "
                f"got {len(other.captions)} captions of which some differ."
            )
        names = [name for name in self._measured() if name in other._measured()]
        return {name: _row(getattr(self, name) - getattr(other, name), self.captions) for name in names}

    def part(self, indices: Sequence[int]) -> "Fidelity":
        """The same of some of the pictures."""
        rows = {name: getattr(self, name)[list(indices)] for name in self._measured()}
        return replace(self, captions=tuple(self.captions[index] for index in indices), **rows)

    def _measured(self) -> list[str]:
        return [name for name in MEASURES if getattr(self, name) is not None]


def fidelity(images: Sequence[np.ndarray] | np.ndarray, captions: Sequence[str], ssim: bool = True) -> Fidelity:
    """Compare pictures with the truth.

    Args:
        images: B square RGB pictures [128, 128, 3]; uint8 levels, or float in 0 to 1.
        captions: the B captions they should show.
        ssim: measure SSIM too, which needs scikit-image.

    Returns:
        The measures per picture.

    Raises:
        ValueError: for captions that the model does not know, or pictures of another number, size, type or range.
        ImportError: if SSIM is asked for and scikit-image is not there.
    """
    if isinstance(captions, str):
        raise ValueError(f"captions must be a list of texts, got the text {captions!r}.")
    if len(images) != len(captions):
        raise ValueError(f"images must be one per caption ({len(captions)}), got {len(images)}.")
    if not len(images):
        raise ValueError("images must be at least one, got none.")
    if ssim:
        need_ssim()
    truths = true_pictures(captions)
    boxes = [parse_caption(caption).box for caption in captions]
    levels = [_levels(image, index) for index, image in enumerate(images)]
    pairs = list(zip(levels, truths, strict=True))
    crops = [(_crop(ours, box), _crop(truth, box)) for (ours, truth), box in zip(pairs, boxes, strict=True)]
    return Fidelity(
        captions=tuple(captions),
        psnr=np.array([capped_psnr(*pair) for pair in crops]),
        ssim=np.array([ssim_levels(*pair) for pair in crops]) if ssim else None,
        sharpness=np.array([_gradient(ours) / _gradient(truth) for ours, truth in crops]),
        picture_psnr=np.array([capped_psnr(*pair) for pair in pairs]),
        picture_ssim=np.array([ssim_levels(*pair) for pair in pairs]) if ssim else None,
    )


def has_ssim() -> bool:
    """Whether scikit-image is there, which SSIM needs."""
    return importlib.util.find_spec("skimage") is not None


def compare_settings(
    painters: Mapping[str, Callable[[], Sequence[np.ndarray] | np.ndarray]], captions: Sequence[str], ssim: bool = True
) -> dict[str, dict[str, Table]]:
    """Measure what settings cost in fidelity, beside the first of them.

    Args:
        painters: by a setting's name, what paints the pictures of all captions under it, with the same seeds.
        captions: what the pictures should show.
        ssim: measure SSIM too, which needs scikit-image.

    Returns:
        Per setting `fidelity` (its summary) and, for all but the first, `cost`: the first one's mean less its own, by
        pairs, with 95% intervals; positive where fidelity is lost.
    """
    found: dict[str, dict[str, Table]] = {}
    plain: Fidelity | None = None
    for name, paint in painters.items():
        ours = fidelity(paint(), captions, ssim)
        found[name] = {"fidelity": ours.summary()} | ({} if plain is None else {"cost": plain.minus(ours)})
        plain = plain or ours
    return found


def need_ssim() -> None:
    """Raise an ImportError that says what to install where scikit-image is missing."""
    if not has_ssim():
        raise ImportError(
            "SSIM needs scikit-image; install with `pip install hart-stage-cache[benchmark]`, or leave it out with "
            "ssim=False."
        )


def ssim_levels(image: np.ndarray, truth: np.ndarray) -> float:
    """SSIM of levels 0 to 255 [H, W, 3], over windows of at most 7 pixels, by scikit-image."""
    from skimage.metrics import structural_similarity

    side = min(image.shape[:2])
    window = min(SSIM_WINDOW, side - 1 + side % 2)
    return float(structural_similarity(truth, image, data_range=255, channel_axis=2, win_size=window))


def _levels(image: np.ndarray, index: int) -> np.ndarray:
    """uint8 [128, 128, 3], as a saved picture has them."""
    image = np.asarray(image)
    if image.shape != (CANVAS, CANVAS, 3):
        raise ValueError(f"images[{index}] must have shape ({CANVAS}, {CANVAS}, 3), got {image.shape}.")
    if image.dtype == np.uint8:
        return image
    if not np.issubdtype(image.dtype, np.floating):
        raise ValueError(f"images[{index}] must be uint8 levels or floats of 0 to 1, got {image.dtype}.")
    if not (image.min() >= 0 and image.max() <= 1):
        raise ValueError(
            f"images[{index}] must have floats of 0 to 1, got values from {image.min():.3g} to {image.max():.3g}."
        )
    return np.rint(image * 255).astype(np.uint8)


def _crop(image: np.ndarray, box: tuple[int, int, int]) -> np.ndarray:
    """The object's square."""
    top, left, side = box
    return image[top : top + side, left : left + side]


def _gradient(image: np.ndarray) -> float:
    """Mean absolute difference of neighbouring levels, down and across."""
    levels = image.astype(np.int16)
    return float(np.abs(np.diff(levels, axis=0)).mean() + np.abs(np.diff(levels, axis=1)).mean())


def _row(values: np.ndarray, captions: Sequence[str]) -> dict[str, float]:
    value, low, high = mean_interval(values.tolist(), captions)
    # JSON knows no infinity.
    return {"value": value} | ({"low": low, "high": high} if math.isfinite(low) else {})
