"""How good a setting's pictures are: against the prompt, and against no-cache's pictures of the same seeds."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from hart.benchmark.judge.features import Features, feature_distances, frechet_distance, picture_features
from hart.benchmark.pictures import load_picture
from hart.benchmark.results import Interval, Quality
from hart.evaluation import ATTRIBUTES, PictureCheck, Scene, check_pictures, fidelity
from hart.evaluation.fidelity import ssim_levels
from hart.modules.models.autoencoder import HARTAutoEncoder
from hart.utils.intervals import (
    bootstrap_interval,
    drop_interval,
    mean_of_pictures,
    reflected_limits,
    score_interval,
)
from hart.utils.psnr import capped_psnr

PACKAGES = {"skimage": "scikit-image", "scipy": "scipy", "PIL": "pillow"}
AT_ONCE, LARGE_SIDE = 16, 512
"""So many pictures are looked at together; one, where a side has more pixels than that."""


def need_metrics() -> None:
    """Raise an ImportError that says what to install, before work is done that only these packages can judge."""
    missing = [package for module, package in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise ImportError(
            f"the benchmark needs {', '.join(missing)}; install with `pip install hart-stage-cache[benchmark]`."
        )


class Judge:
    """Judges pictures of a run, a few at a time, so that memory does not grow with their number.

    Args:
        vae: the checkpoint's tokenizer, whose encoder gives the features.
        folder: that pictures' names are relative to.
        scenes: what every picture should show; None where no program can tell.
        prompts: of every picture, so that pictures of one prompt count as one witness; None: all are different.
    """

    def __init__(
        self,
        vae: HARTAutoEncoder,
        folder: Path,
        scenes: Sequence[Scene] | None,
        prompts: Sequence[str] | None = None,
    ):
        self.vae, self.folder, self.scenes, self.prompts = vae, folder, scenes, prompts

    def judge(self, files_by_setting: Sequence[Sequence[str]], progress: bool = False) -> list[Quality]:
        """Figures of every setting's pictures beside no-cache's, which come first; all in the order of the scenes.

        No-cache's own PSNR, which would be infinite, is left out.
        """
        tallies = [_Tally() for _ in files_by_setting]
        first = load_picture(self.folder / files_by_setting[0][0])
        at_once = AT_ONCE if max(first.shape) <= LARGE_SIDE else 1
        starts = range(0, len(files_by_setting[0]), at_once)
        for start in tqdm(starts, desc="judging", unit="round", disable=not progress):
            part = slice(start, start + at_once)
            plain = self._see(files_by_setting[0][part], part)
            for files, tally in zip(files_by_setting, tallies, strict=True):
                tally.add(plain if tally is tallies[0] else self._see(files[part], part), plain)
        count = len(files_by_setting[0])
        prompts = [str(index) for index in range(count)] if self.prompts is None else self.prompts[:count]
        figures = tqdm(tallies, desc="intervals", unit="setting", disable=not progress)
        return [tally.quality(tallies[0], prompts) for tally in figures]

    def _see(self, files: Sequence[str], part: slice) -> "_Seen":
        pictures = np.stack([load_picture(self.folder / file) for file in files])
        features = picture_features(self.vae, pictures)
        if self.scenes is None:
            return _Seen(pictures, features, [], [])
        scenes = self.scenes[part]
        near = fidelity(pictures, [scene.caption() for scene in scenes], ssim=False).psnr
        return _Seen(pictures, features, check_pictures(pictures, scenes), near.tolist())


@dataclass(frozen=True)
class _Seen:
    """A few pictures [N, H, W, 3], their features; verdicts and fidelity (none where no program can judge)."""

    pictures: NDArray[np.uint8]
    features: Features
    checks: list[PictureCheck]
    fidelity: list[float]


@dataclass
class _Tally:
    """What was measured of a setting's pictures so far, one entry a picture."""

    psnr: list[float] = field(default_factory=list)
    ssim: list[float] = field(default_factory=list)
    distance: list[float] = field(default_factory=list)
    pooled: list[NDArray[np.float64]] = field(default_factory=list)
    checks: list[PictureCheck] = field(default_factory=list)
    fidelity: list[float] = field(default_factory=list)

    def add(self, ours: _Seen, plain: _Seen) -> None:
        """Measure a few pictures more."""
        self.psnr += psnr_values(ours.pictures, plain.pictures)
        self.ssim += ssim_values(ours.pictures, plain.pictures)
        self.distance += feature_distances(ours.features, plain.features)
        self.pooled.append(ours.features.pooled)
        self.checks += ours.checks
        self.fidelity += ours.fidelity

    def quality(self, plain: "_Tally", prompts: Sequence[str]) -> Quality:
        """The figures, beside no-cache's, whose own drop is 0 by definition."""
        pooled, pooled_plain = np.concatenate(self.pooled), np.concatenate(plain.pooled)
        quality = Quality(
            psnr=None if self is plain else bootstrap_interval(self.psnr, "median", prompts),
            ssim=bootstrap_interval(self.ssim, groups=prompts),
            feature_distance=bootstrap_interval(self.distance, groups=prompts),
            frechet=frechet_distance(pooled, pooled_plain),
            frechet_limits=None
            if self is plain
            else reflected_limits(lambda drawn: frechet_distance(pooled[drawn], pooled_plain[drawn]), prompts),
        )
        if self.checks:
            shown, shown_plain = _shown(self.checks), _shown(plain.checks)
            nothing = Interval(value=0, low=0, high=0)
            lost = [before - after for before, after in zip(plain.fidelity, self.fidelity, strict=True)]
            quality.fidelity = mean_of_pictures(self.fidelity, prompts)
            quality.fidelity_lost = mean_of_pictures(lost, prompts)
            quality.fidelity_of_pictures = [round(decibels, 3) for decibels in self.fidelity]
            quality.prompt_score = score_interval(shown, prompts)
            quality.prompt_drop = nothing if self is plain else drop_interval(shown_plain, shown, prompts)
            quality.smallest_drop = drop_interval(shown_plain, shown_plain, prompts).high
            quality.attributes = {
                name: float(np.mean([getattr(check, name) for check in self.checks])) for name in ATTRIBUTES
            }
        return quality


def psnr_values(pictures: NDArray[np.uint8], reference: NDArray[np.uint8]) -> list[float]:
    """PSNR of each picture [N, H, W, 3] in dB, at most 100 (equal pictures would be infinite)."""
    return [capped_psnr(a, b) for a, b in zip(pictures, reference, strict=True)]


def ssim_values(pictures: NDArray[np.uint8], reference: NDArray[np.uint8]) -> list[float]:
    """Structural similarity of each picture [N, H, W, 3], over windows of at most 7 pixels."""
    return [ssim_levels(a, b) for a, b in zip(pictures, reference, strict=True)]


def _shown(checks: Sequence[PictureCheck]) -> list[float]:
    """1 for a picture that shows all that its prompt asks for, else 0."""
    return [float(check.overall) for check in checks]
