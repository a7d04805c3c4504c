"""The planner: search the settings that are fastest within a budget of quality, with the evidence.

Three steps, all on this machine and these weights. *Search*: try the candidates given (presets, other people's rules)
and settings that reuse the branches which were most alike; then, from the full run, take the cheaper treatment of a
stage that saves most time per damage to the latent map, again and again (`hart/modules/cache/moves.py`). *Front*: of
all that was tried, what nothing else beats in time and damage, and every candidate. *Verify*: paint other prompts, from
the fastest on, until one keeps the budget; those that are nearly as fast are painted, too, and the fastest one wins. So
no candidate that keeps the budget is faster than the proposal, as far as these pictures tell.
"""

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from hart.evaluation import check_pictures, draw_scenes, parse_caption
from hart.evaluation.paired import paired_drop
from hart.modules.cache.moves import (
    LATE_STAGES,
    SELECTORS_TRIED,
    SHARES,
    Treatment,
    cheaper,
    nothing_left_out,
    other_selectors,
    reuse_by_similarity,
)
from hart.modules.cache.proposal import FORMAT, CacheProposal, PlanCost, Source, Trial, Verification, fastest_kept
from hart.modules.cache_config import HARTCacheConfig
from hart.modules.cache_prompts import Subjects, check_count, is_embedded_model
from hart.utils.numbers import is_number
from hart.utils.psnr import psnr
from hart.utils.timing import Stopwatch

if TYPE_CHECKING:
    from hart.modules.enhanced_hart import EnhancedHARTForT2I

HOPELESS_LOSSES = 3
"""A candidate is given up once it has lost so many pictures more than the budget allows in all."""

NEARLY = 1.05
"""What took at most so many times as long in the search as the first that keeps the budget is verified, too."""

Step = tuple[Treatment, Trial]
"""A treatment, and what it took."""

SAME_PICTURES_DB = 100.0
"""Stands for the infinite PSNR of pictures that are the same."""

Judge = Callable[[Tensor, Sequence[str]], Sequence[float]]
"""Pictures [B, 3, H, W] of 0 to 1 and their prompts (empty without prompts) to a score of each, 1 for perfect."""


@dataclass(frozen=True)
class PlanSettings:
    """How the planner works, see `EnhancedHARTForT2I.plan_cache`."""

    max_quality_drop: float
    seed: int
    num_search: int
    num_verify: int
    cfg: float
    judge: Judge | None
    progress: bool
    candidates: Sequence[HARTCacheConfig] | None = None
    min_psnr: float | None = None

    def __post_init__(self) -> None:
        if not is_number(self.max_quality_drop) or not 0 <= self.max_quality_drop <= 1:
            raise ValueError(f"max_quality_drop is {self.max_quality_drop!r}; allowed is a number from 0 to 1.")
        if self.min_psnr is not None and (not is_number(self.min_psnr) or not 0 <= self.min_psnr <= SAME_PICTURES_DB):
            raise ValueError(f"min_psnr is {self.min_psnr!r}; allowed is None or a number from 0 to 100 (dB).")
        for name in ("num_search", "num_verify"):
            check_count(name, getattr(self, name))


@dataclass(frozen=True)
class Painted:
    """A picture's latent map [1, c, P, P] and the seconds it took."""

    f_hat: Tensor
    seconds: float


class Studio:
    """Paints N pictures, one at a time, under any settings, and counts them in `num_painted`.

    Args:
        model: a wrapper of its own.
        subjects: what is painted.
        first_seed: picture i is painted with this + i.
        cfg: guidance scale.
    """

    def __init__(self, model: "EnhancedHARTForT2I", subjects: Subjects, first_seed: int, cfg: float):
        self.model, self.first_seed, self.cfg = model, first_seed, cfg
        self.prompts, self.num_painted = subjects.prompts, 0
        watch = Stopwatch(model.device)
        self.arguments, seconds = [], []
        for index in range(subjects.count):
            self.arguments.append(subjects.arguments(index, 1))
            seconds.append(watch.lap())
        self.text_seconds = statistics.median(seconds)
        self.plain = [self.paint(index) for index in range(subjects.count)]

    def paint(self, index: int, config: HARTCacheConfig | None = None) -> Painted:
        """Picture `index`; None paints without cache."""
        self.model.set_cache_config(config)
        self.num_painted += 1
        watch = Stopwatch(self.model.device)
        f_hat = self.model.autoregressive_infer_cfg(
            1, g_seed=self.first_seed + index, cfg=self.cfg, decode=False, **self.arguments[index]
        )
        return Painted(f_hat, watch.lap())

    def prompt(self, index: int) -> list[str]:
        """The prompt of a picture, for a judge; empty without prompts."""
        return [] if self.prompts is None else [self.prompts[index % len(self.prompts)]]

    def trial(self, config: HARTCacheConfig, source: Source = "search") -> Trial:
        """All pictures under these settings; beside every other one the full run's again, so that drift meets both."""
        seconds, ratios, damages = [], [], []
        for index, plain in enumerate(self.plain):
            ours = self.paint(index, config)
            if index % 2 == 0:
                ratios.append(ours.seconds / self.paint(index).seconds)
            seconds.append(ours.seconds)
            damages.append(_damage(ours, plain))
        return Trial(
            run_tag=config.run_tag(),
            settings=config.to_dict(),
            source=source,
            seconds=statistics.median(seconds),
            relative_seconds=statistics.median(ratios),
            damage=statistics.fmean(damages),
        )


def plan(model: "EnhancedHARTForT2I", prompts: Sequence[str] | None, settings: PlanSettings) -> CacheProposal:
    """Search, then verify (see the head of this file).

    Args:
        model: a wrapper of its own, whose settings nobody else uses.
        prompts: what to paint; None for what the checkpoint offers.
        settings: how.
    """
    begun = time.perf_counter()
    search_prompts, verify_prompts = _split(model, prompts, settings)
    candidates = _candidates(model, settings)
    search = Studio(model, Subjects(model, settings.num_search, search_prompts), settings.seed, settings.cfg)
    tried = _search(search, candidates, settings.progress)
    # Other seeds than the search's, whatever their number.
    first_seed = settings.seed + settings.num_search
    studio = Studio(model, Subjects(model, settings.num_verify, verify_prompts), first_seed, settings.cfg)
    verified = _verify(studio, _to_verify(tried), settings)
    chosen = fastest_kept(verified)
    return CacheProposal(
        format=FORMAT,
        settings=chosen.settings if chosen is not None else HARTCacheConfig.from_preset("no-cache").to_dict(),
        max_quality_drop=settings.max_quality_drop,
        min_psnr=settings.min_psnr,
        judged_by=_judged_by(model, verify_prompts, settings),
        tried=tried,
        verified=verified,
        seed=settings.seed,
        cfg=settings.cfg,
        cost=_cost(model, settings, time.perf_counter() - begun, search.num_painted + studio.num_painted),
    )


def _candidates(model: "EnhancedHARTForT2I", settings: PlanSettings) -> list[HARTCacheConfig]:
    """Settings to try beside the search's own; where none are given, all presets that fit the model."""
    sides, depth = model.config.patch_nums, model.config.depth
    if settings.candidates is None:
        return fitting_presets(sides)
    for index, config in enumerate(settings.candidates):
        if not isinstance(config, HARTCacheConfig):
            raise ValueError(f"candidates[{index}] is {config!r}; allowed are HARTCacheConfigs.")
        try:
            config.validate([side * side for side in sides], depth=depth)
        except ValueError as error:
            raise ValueError(f"candidates[{index}]: {error}") from error
    return [config for config in settings.candidates if not config.changes_nothing]


def fitting_presets(sides: Sequence[int]) -> list[HARTCacheConfig]:
    """All presets that change something on a pyramid."""
    return [config for name in HARTCacheConfig.preset_names() if (config := _preset(name, sides)) is not None]


def _preset(name: str, sides: Sequence[int]) -> HARTCacheConfig | None:
    """None where it does not fit the pyramid, or changes nothing."""
    try:
        config = HARTCacheConfig.from_preset(name, patch_nums=sides)
    except ValueError:
        return None
    return None if config.changes_nothing else config


def _cost(model: "EnhancedHARTForT2I", settings: PlanSettings, seconds: float, pictures: int) -> PlanCost:
    device = model.device
    return PlanCost(
        seconds=round(seconds, 1),
        pictures=pictures,
        num_search=settings.num_search,
        num_verify=settings.num_verify,
        device=str(device),
        dtype=str(model.dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        machine=torch.cuda.get_device_name(device) if device.type == "cuda" else platform.platform(),
        torch=str(torch.__version__),
    )


# -- search ----------------------------------------------------------------------------------------------------------


def _search(studio: Studio, candidates: Sequence[HARTCacheConfig], progress: bool) -> list[Trial]:
    """Every trial, in order: candidates, reuse by similarity, token selectors, the descent over treatments."""
    stages = [side * side for side in studio.model.config.patch_nums]
    given: list[tuple[HARTCacheConfig, Source]] = [(config, "candidate") for config in candidates]
    given += [(config, "similarity") for config in reuse_by_similarity(_similarities(studio), stages)]
    steps = LATE_STAGES * len(SHARES)  # at most; the bar ends early
    with tqdm(total=len(given) + steps, desc="planning", unit="step", disable=not progress) as bar:
        tried = []
        for config, source in given:
            tried.append(studio.trial(config, source))
            bar.update()
        current, here, trials = _start(studio, stages)
        tried += trials
        best: Step | None = (current, here)
        while best is not None:
            best, trials = _next_step(studio, *best)
            tried += trials
            bar.update()
    return tried


def _start(studio: Studio, stages: Sequence[int]) -> tuple[Treatment, Trial, list[Trial]]:
    """The full run, with the token selector that does least damage at half of the last stage; and all trials."""
    trials = {}
    for selector in SELECTORS_TRIED:
        start = nothing_left_out(stages, selector)
        half = Treatment(start.stages, (*start.shares[:-1], 0.5), selector=selector)
        trials[selector] = studio.trial(half.config(), "selector")
    start = nothing_left_out(stages, min(trials, key=lambda selector: trials[selector].damage))
    here = studio.trial(start.config())
    return start, here, [*trials.values(), here]


def _next_step(studio: Studio, current: Treatment, here: Trial) -> tuple[Step | None, list[Trial]]:
    """The cheaper treatment that saves most time per damage (None: nothing saves any), and all trials of this step."""
    options = [(treatment, studio.trial(treatment.config())) for treatment in cheaper(current)]
    best = _best(here, options)
    if best is None:
        return None, [tried for _, tried in options]
    others = [(treatment, studio.trial(treatment.config())) for treatment in other_selectors(best[0])]
    best = _best(here, [best, *others]) or best
    return best, [tried for _, tried in options + others]


def _best(here: Trial, options: Sequence[Step]) -> Step | None:
    """Of the options that are faster than here the one that saves most per damage; None where none is."""
    worth = [option for option in options if option[1].relative_seconds < here.relative_seconds]
    return max(worth, key=lambda option: _gain(here, option[1]), default=None)


def _gain(here: Trial, there: Trial) -> float:
    return (here.relative_seconds - there.relative_seconds) / max(there.damage - here.damage, 1e-6)


def _similarities(studio: Studio) -> dict[tuple[str, int, int], float]:
    """Mean similarity of every branch to its output at the stage before, over the pictures of the search."""
    studio.model.calibration = True
    try:
        for index in range(len(studio.plain)):
            studio.paint(index)
    finally:
        studio.model.calibration = False
    return studio.model.recorded_similarities.table()


def _front(tried: Sequence[Trial]) -> list[Trial]:
    """Trials that no other beats in both time and damage, fastest first."""
    front: list[Trial] = []
    for trial in sorted(tried, key=lambda t: (t.relative_seconds, t.damage)):
        if not front or trial.damage < front[-1].damage:
            front.append(trial)
    return front


def _to_verify(tried: Sequence[Trial]) -> list[Trial]:
    """The front and all candidates, fastest first: damage to the latent map does not rule on what was asked about."""
    faster = [trial for trial in tried if not HARTCacheConfig.from_dict(trial.settings).changes_nothing]
    chosen = {trial.run_tag: trial for trial in faster if trial.source == "candidate"}
    chosen |= {trial.run_tag: trial for trial in _front(faster)}
    return sorted(chosen.values(), key=lambda trial: trial.relative_seconds)


def _damage(ours: Painted, plain: Painted) -> float:
    return float(F.mse_loss(ours.f_hat, plain.f_hat) / plain.f_hat.square().mean().clamp_min(1e-12))


# -- verification ----------------------------------------------------------------------------------------------------


class _Verifier:
    """The full run's pictures and scores on the verification's prompts, and how settings compare with them."""

    def __init__(self, studio: Studio, settings: PlanSettings):
        self.studio, self.settings = studio, settings
        self.score = _scorer(studio, settings)
        watch = Stopwatch(studio.model.device)
        self.pictures, self.scores, decoding = [], [], []
        for index, plain in enumerate(studio.plain):
            watch.restart()
            images = self.decoded(plain)
            decoding.append(watch.lap())
            self.pictures.append(_as_bytes(images))
            self.scores.append(self.score(index, plain, images))
        # The same for all settings, and part of every speed-up.
        self.around = statistics.median(decoding) + studio.text_seconds

    def decoded(self, painted: Painted) -> Tensor:
        """The picture [1, 3, H, W] in 0 to 1."""
        return self.studio.model.latent_to_img(painted.f_hat).float().clamp(0, 1)

    def verify(self, trial: Trial) -> Verification:
        """Paint with and without, in turn, until all pictures are done or the budget is out of reach."""
        config = HARTCacheConfig.from_dict(trial.settings)
        ratios, scores, decibels = [], [], []
        for index, picture in enumerate(self.pictures):
            plain, ours = self.studio.paint(index), self.studio.paint(index, config)
            images = self.decoded(ours)
            ratios.append((plain.seconds + self.around) / (ours.seconds + self.around))
            scores.append(self.score(index, ours, images))
            decibels.append(_decibels(_as_bytes(images), picture))
            if self._is_hopeless(scores, decibels):
                break
        before = self.scores[: len(scores)]
        drop, low, high = paired_drop(before, scores)
        speed_up, psnr = statistics.median(ratios), statistics.median(decibels)
        inside = drop <= self.settings.max_quality_drop and psnr >= (self.settings.min_psnr or 0)
        return Verification(
            run_tag=trial.run_tag,
            settings=trial.settings,
            pictures=len(scores),
            speed_up=speed_up,
            quality_drop=drop,
            drop_low=low,
            drop_high=high,
            psnr=psnr,
            worse=sum(ours < plain for ours, plain in zip(scores, before, strict=True)),
            better=sum(ours > plain for ours, plain in zip(scores, before, strict=True)),
            kept=inside and len(scores) == len(self.pictures) and speed_up > 1,
        )

    def _is_hopeless(self, scores: Sequence[float], decibels: Sequence[float]) -> bool:
        total, floor = len(self.pictures), self.settings.min_psnr or 0
        lost = sum(self.scores[: len(scores)]) - sum(scores)
        if sum(value < floor for value in decibels) > total / 2:
            return True
        return lost > self.settings.max_quality_drop * total + HOPELESS_LOSSES


def _verify(studio: Studio, trials: Sequence[Trial], settings: PlanSettings) -> list[Verification]:
    """From the fastest on, until one keeps the budget and what is nearly as fast has been looked at, too."""
    verifier = _Verifier(studio, settings)
    verified: list[Verification] = []
    slowest = float("inf")
    for trial in tqdm(trials, desc="verifying", unit="setting", disable=not settings.progress):
        if trial.relative_seconds > slowest:
            break
        verified.append(verifier.verify(trial))
        if verified[-1].kept:
            slowest = min(slowest, NEARLY * trial.relative_seconds)
    return verified


def _as_bytes(images_13HW: Tensor) -> NDArray[np.uint8]:
    """A picture as a file would hold it: [H, W, 3]."""
    pixels: NDArray[np.uint8] = (images_13HW[0] * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return pixels


def _decibels(ours: NDArray[np.uint8], plain: NDArray[np.uint8]) -> float:
    """PSNR of two pictures."""
    both = [torch.from_numpy(picture[None]).double() / 255 for picture in (ours, plain)]
    return min(SAME_PICTURES_DB, *psnr(*both))


def _scorer(studio: Studio, settings: PlanSettings) -> Callable[[int, Painted, Tensor], float]:
    """Score of a picture, from 0 to 1: by the caller's judge, by program, or by its likeness to the full run's."""
    kind = _judged_by(studio.model, studio.prompts, settings)
    if kind == "latent":
        return lambda index, ours, images: 1 - min(1.0, _damage(ours, studio.plain[index]))
    judge = settings.judge if settings.judge is not None else _shows_its_prompt
    return lambda index, ours, images: float(judge(images, studio.prompt(index))[0])


def _shows_its_prompt(images_B3HW: Tensor, prompts: Sequence[str]) -> list[float]:
    pictures = np.stack([_as_bytes(image[None]) for image in images_B3HW])
    checks = check_pictures(pictures, [parse_caption(prompt) for prompt in prompts])
    return [float(check.overall) for check in checks]


# -- prompts ---------------------------------------------------------------------------------------------------------


def _split(
    model: "EnhancedHARTForT2I", prompts: Sequence[str] | None, settings: PlanSettings
) -> tuple[list[str] | None, list[str] | None]:
    """Prompts of the search and of the verification: given ones by turns, the embedded model's two splits, or none."""
    if prompts is not None:
        if isinstance(prompts, str) or len(prompts) < 2:
            raise ValueError(f"prompts is {prompts!r}; allowed is a list of at least two texts.")
        return list(prompts[::2]), list(prompts[1::2])
    if not is_embedded_model(model):
        return None, None
    search = draw_scenes(settings.num_search, "training", settings.seed)
    verify = draw_scenes(settings.num_verify, "held-out", settings.seed)
    return [scene.caption() for scene in search], [scene.caption() for scene in verify]


def _judged_by(
    model: "EnhancedHARTForT2I", prompts: Sequence[str] | None, settings: PlanSettings
) -> Literal["program", "latent", "caller"]:
    if settings.judge is not None:
        return "caller"
    if prompts is None or not is_embedded_model(model):
        return "latent"
    try:
        for prompt in prompts:
            parse_caption(prompt)
    except ValueError:
        return "latent"
    return "program"


__all__ = ["CacheProposal", "Judge", "PlanCost", "PlanSettings", "Trial", "Verification", "fitting_presets", "plan"]
