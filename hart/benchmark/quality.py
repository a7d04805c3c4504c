"""How good a setting's pictures are: against the prompt, and against no-cache's pictures of the same seeds."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hart.benchmark.bootstrap import bootstrap_interval
from hart.benchmark.features import Features, feature_distances, frechet_distance, picture_features
from hart.benchmark.pictures import load_picture
from hart.benchmark.psnr import PSNR_CAP, psnr
from hart.benchmark.results import Quality
from hart.evaluation import ATTRIBUTES, PictureCheck, Scene, check_pictures
from hart.modules.models.autoencoder import HARTAutoEncoder

PACKAGES = {"skimage": "scikit-image", "scipy": "scipy"}
SSIM_WINDOW = 7


def need_metrics() -> None:
    """Raise an ImportError that says what to install, before work is done that only these packages can judge."""
    missing = [package for module, package in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise ImportError(
            f"the benchmark needs {' and '.join(missing)}; install with `pip install hart-stage-cache[benchmark]`."
        )


class Judge:
    """Judges pictures of a run.

    Args:
        vae: the checkpoint's tokenizer, whose encoder gives the features.
        folder: that pictures' names are relative to.
        scenes: what every picture should show; None where no program can tell.
    """

    def __init__(self, vae: HARTAutoEncoder, folder: Path, scenes: Sequence[Scene] | None):
        self.vae, self.folder, self.scenes = vae, folder, scenes
        self._plain: tuple[list[str], _Seen] | None = None

    def judge(self, files: Sequence[str], plain_files: Sequence[str]) -> Quality:
        """Figures of a setting's pictures beside no-cache's, in the same order; all intervals are over pictures.

        No-cache's own PSNR, which would be infinite, is left out.
        """
        if self._plain is None or self._plain[0] != list(plain_files):
            self._plain = list(plain_files), self._see(plain_files)
        plain = self._plain[1]
        is_plain = list(files) == list(plain_files)
        ours = plain if is_plain else self._see(files)
        quality = Quality(
            psnr=None if is_plain else bootstrap_interval(psnr_values(ours.pictures, plain.pictures), "median"),
            ssim=bootstrap_interval(ssim_values(ours.pictures, plain.pictures)),
            feature_distance=bootstrap_interval(feature_distances(ours.features, plain.features)),
            frechet=frechet_distance(ours.features.pooled, plain.features.pooled),
        )
        if ours.checks is not None and plain.checks is not None:
            shown, shown_plain = _shown(ours.checks), _shown(plain.checks)
            quality.prompt_score = bootstrap_interval(shown)
            quality.prompt_drop = bootstrap_interval([b - a for a, b in zip(shown, shown_plain, strict=True)])
            quality.attributes = {
                name: float(np.mean([getattr(check, name) for check in ours.checks])) for name in ATTRIBUTES
            }
        return quality

    def _see(self, files: Sequence[str]) -> "_Seen":
        pictures = np.stack([load_picture(self.folder / file) for file in files])
        checks = None if self.scenes is None else check_pictures(pictures, self.scenes)
        return _Seen(pictures, picture_features(self.vae, pictures), checks)


class _Seen:
    """N pictures [N, H, W, 3], their features, and the verdicts on them."""

    def __init__(self, pictures: NDArray[np.uint8], features: Features, checks: list[PictureCheck] | None):
        self.pictures, self.features, self.checks = pictures, features, checks


def psnr_values(pictures: NDArray[np.uint8], reference: NDArray[np.uint8]) -> list[float]:
    """PSNR of each picture [N, H, W, 3] in dB, at most 100 (equal pictures would be infinite)."""
    return [min(psnr(a, b), PSNR_CAP) for a, b in zip(pictures, reference, strict=True)]


def ssim_values(pictures: NDArray[np.uint8], reference: NDArray[np.uint8]) -> list[float]:
    """Structural similarity of each picture [N, H, W, 3], over windows of at most 7 pixels."""
    from skimage.metrics import structural_similarity

    side = min(pictures.shape[1:3])
    window = min(SSIM_WINDOW, side - 1 + side % 2)
    return [
        float(structural_similarity(b, a, data_range=255, channel_axis=2, win_size=window))
        for a, b in zip(pictures, reference, strict=True)
    ]


def _shown(checks: Sequence[PictureCheck]) -> list[float]:
    """1 for a picture that shows all that its prompt asks for, else 0."""
    return [float(check.overall) for check in checks]
