"""The planner's verification and confirmation: settings beside the full run on other prompts, judged one by one."""

import statistics
from collections.abc import Callable, Hashable, Sequence
from typing import Literal

import numpy as np
from torch import Tensor
from tqdm.auto import tqdm

from hart.evaluation import check_pictures, fidelity, parse_caption
from hart.tuning.painter import Painted
from hart.tuning.planner.prompts import JudgedBy
from hart.tuning.planner.proposal import Trial, Verification
from hart.tuning.planner.trials import TrialRunner, damage_to
from hart.utils.images import to_numpy
from hart.utils.intervals import mean_interval, paired_drop
from hart.utils.psnr import PSNR_CAP, capped_psnr
from hart.utils.timing import Stopwatch

NEARLY = 1.05
"""What took at most so many times as long in the search as the first that keeps the budget is verified, too."""

Judge = Callable[[Tensor, Sequence[str]], Sequence[float]]
"""Pictures [B, 3, H, W] of 0 to 1 and their prompts (empty without prompts) to a score of each, 1 for perfect."""


TIMED_EVERY, TIMED_ENOUGH = 4, 50
"""The full run, whose pictures are known, is painted and timed again beside every fourth picture; of many pictures,
beside so many in all.
"""


FEWEST_FOR_DOUBT = 8
"""By fidelity, a setting may be given up after so many pictures."""

Part = Literal["verification", "confirmation"]


class Verifier:
    """The full run's pictures and scores on the verification's prompts, and how settings compare with them.

    Args:
        runner: paints the prompts of the verification, or of the confirmation.
        part: "verification" or "confirmation".
        judged_by: "caller" asks the judge, "program" the embedded model's own check, "fidelity" measures the distance
            to the true picture, "latent" goes by the latent map.
        judge: of "caller".
        max_quality_drop, min_psnr: the budget; by fidelity the first is in dB.
        progress: show a bar.
    """

    def __init__(
        self,
        runner: TrialRunner,
        part: Part,
        judged_by: JudgedBy,
        judge: Judge | None,
        max_quality_drop: float,
        min_psnr: float | None,
        progress: bool,
    ):
        self.runner, self.part, self.progress = runner, part, progress
        self.max_quality_drop, self.min_psnr = max_quality_drop, min_psnr or 0.0
        self.by_fidelity = judged_by == "fidelity"
        self.score = _scorer(runner, judged_by, judge)
        watch = Stopwatch(runner.full.device)
        self.pictures, self.scores, decoding = [], [], []
        for index, plain in enumerate(runner.plain):
            watch.restart()
            images = self._decoded(plain)
            decoding.append(watch.lap())
            self.pictures.append(to_numpy(images)[0])
            self.scores.append(self.score(index, plain, images))
        self.losses = [0] * len(self.pictures)  # how many settings a picture lost under
        # The same for all settings, and part of every speed-up.
        self.around = statistics.median(decoding) + runner.text_seconds

    def verify_in_turn(self, trials: Sequence[Trial]) -> list[Verification]:
        """In the order given, until one keeps the budget and what is nearly as fast has been looked at, too."""
        verified: list[Verification] = []
        slowest = float("inf")
        for trial in tqdm(trials, desc="verifying", unit="setting", disable=not self.progress):
            if trial.relative_seconds > slowest:
                break
            verified.append(self.verify(trial))
            if verified[-1].kept:
                slowest = min(slowest, NEARLY * trial.relative_seconds)
        return verified

    def confirm(self, kept: Sequence[Verification], tried: Sequence[Trial]) -> list[Verification]:
        """Confirm what a verification kept, the fastest first, up to the first that keeps the budget here, too."""
        confirmed: list[Verification] = []
        order = sorted((found for found in kept if found.kept), key=lambda found: -found.speed_up)
        for found in tqdm(order, desc="confirming", unit="setting", disable=not self.progress):
            confirmed.append(self.verify(next(trial for trial in tried if trial.settings == found.settings)))
            if confirmed[-1].kept:
                break
        return confirmed

    def verify(self, trial: Trial) -> Verification:
        """Paint until all pictures are done or the budget is out of reach."""
        return self.runner.journal.once(self.part, trial.config, Verification, lambda: self._verified(trial))

    def _verified(self, trial: Trial) -> Verification:
        """First come pictures that lost under settings before, or that the full run got wrong: it shows early."""
        config = trial.config
        ratios, before, scores, decibels, prompts = [], [], [], [], []
        still_to_win = sum(1 - score for score in self.scores)
        timed_every = max(TIMED_EVERY, len(self.pictures) // TIMED_ENOUGH)
        for turn, index in enumerate(sorted(range(len(self.pictures)), key=self._calm)):
            ours = self.runner.paint(index, config)
            if turn % timed_every == 0:
                plain = self.runner.paint(index)
                ratios.append((plain.seconds + self.around) / (ours.seconds + self.around))
            images = self._decoded(ours)
            prompts.append(tuple(self.runner.prompt(index)) or index)
            before.append(self.scores[index])
            scores.append(self.score(index, ours, images))
            decibels.append(capped_psnr(to_numpy(images)[0], self.pictures[index]))
            self.losses[index] += scores[-1] < before[-1]
            still_to_win -= 1 - before[-1]
            if self.by_fidelity:
                drop = _fidelity_lost(before, scores, prompts)
                if len(scores) >= FEWEST_FOR_DOUBT and drop[1] > self.max_quality_drop:
                    break
            elif self._is_hopeless(sum(before) - sum(scores) - still_to_win, decibels):
                break
        drop = _fidelity_lost(before, scores, prompts) if self.by_fidelity else paired_drop(before, scores, prompts)
        return self._found(trial, ratios, before, scores, decibels, drop)

    def _decoded(self, painted: Painted) -> Tensor:
        """The picture [1, 3, H, W] in 0 to 1."""
        return self.runner.full.latent_to_img(painted.f_hat).float().clamp(0, 1)

    def _calm(self, index: int) -> float:
        """How unlikely a picture's verdict is to change; by fidelity all are alike, and keep their order."""
        return 0.0 if self.by_fidelity else self.scores[index] - self.losses[index]

    def _is_hopeless(self, least_lost: float, decibels: Sequence[float]) -> bool:
        """Whether the budget is out of reach even if all that the full run got wrong came out right from here on."""
        total = len(self.pictures)
        if sum(value < self.min_psnr for value in decibels) > total / 2:
            return True
        return least_lost > self.max_quality_drop * total + 1e-9

    def _found(
        self,
        trial: Trial,
        ratios: Sequence[float],
        before: Sequence[float],
        scores: Sequence[float],
        decibels: Sequence[float],
        interval: tuple[float, float, float],
    ) -> Verification:
        drop, low, high = interval
        speed_low, speed_up, speed_high = (float(part) for part in np.quantile(ratios, (0.25, 0.5, 0.75)))
        median_psnr = statistics.median(decibels)
        inside = drop <= self.max_quality_drop and median_psnr >= self.min_psnr
        return Verification(
            run_tag=trial.run_tag,
            settings=trial.settings,
            pictures=len(scores),
            speed_up=speed_up,
            speed_low=speed_low,
            speed_high=speed_high,
            quality_drop=drop,
            drop_low=low,
            drop_high=high,
            psnr=median_psnr,
            worse=sum(ours < plain for ours, plain in zip(scores, before, strict=True)),
            better=sum(ours > plain for ours, plain in zip(scores, before, strict=True)),
            kept=inside and len(scores) == len(self.pictures) and speed_up > 1,
        )


def _scorer(runner: TrialRunner, judged_by: JudgedBy, judge: Judge | None) -> Callable[[int, Painted, Tensor], float]:
    """Score of a picture: its fidelity in dB; else from 0 to 1, by the caller's judge, by program, or by its likeness
    to the full run's.
    """
    if judged_by == "latent":
        return lambda index, ours, images: 1 - min(1.0, damage_to(ours, runner.plain[index]))
    if judged_by == "fidelity":
        return lambda index, ours, images: float(fidelity(to_numpy(images), runner.prompt(index), ssim=False).psnr[0])
    judging = _shows_its_prompt if judge is None else judge
    return lambda index, ours, images: _checked_score(judging(images, runner.prompt(index)))


def _fidelity_lost(
    before: Sequence[float], after: Sequence[float], prompts: Sequence[Hashable]
) -> tuple[float, float, float]:
    """Mean loss in dB with its 95% interval; of pictures of one prompt nobody knows more than that PSNR is capped."""
    value, low, high = mean_interval([a - b for a, b in zip(before, after, strict=True)], prompts)
    return value, max(low, -PSNR_CAP), min(high, PSNR_CAP)


def _checked_score(scores: Sequence[float]) -> float:
    """The score of one picture; what the budget means rests on its range."""
    given = [float(score) for score in scores]
    if len(given) != 1 or not 0 <= given[0] <= 1:
        raise ValueError(f"judge gave {given} for one picture; allowed is one score from 0 to 1 for each.")
    return given[0]


def _shows_its_prompt(images_B3HW: Tensor, prompts: Sequence[str]) -> list[float]:
    checks = check_pictures(to_numpy(images_B3HW), [parse_caption(prompt) for prompt in prompts])
    return [float(check.overall) for check in checks]


__all__ = ["Judge", "Verifier"]
