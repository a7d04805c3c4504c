"""The planner: search the settings that are fastest within a budget of quality, with the evidence.

Three steps, all on this machine and these weights. *Search*: from the full run, take the cheaper treatment of a stage
that saves most time per damage to the latent map, again and again (`hart/modules/cache/moves.py`); beside it, settings
that reuse the branches which were most alike. *Front*: of all that was tried, what nothing else beats in time and
damage. *Verify*: paint other prompts, from the fastest on, and stop at the first that keeps the budget.
"""

import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from hart.evaluation import check_pictures, draw_scenes, parse_caption
from hart.modules.cache.moves import LATE_STAGES, SHARES, Treatment, cheaper, nothing_left_out, reuse_by_similarity
from hart.modules.cache_config import HARTCacheConfig
from hart.modules.cache_prompts import Subjects, check_count, is_embedded_model
from hart.utils.files import read_record, write_whole
from hart.utils.numbers import is_number
from hart.utils.timing import Stopwatch

if TYPE_CHECKING:
    from hart.modules.enhanced_hart import EnhancedHARTForT2I

SELECTORS_TRIED = ("edge", "fhat_cosine", "fastvar")
HOPELESS_LOSSES = 3
"""A candidate is given up once it has lost so many pictures more than the budget allows in all."""

Judge = Callable[[Tensor, Sequence[str]], Sequence[float]]
"""Pictures [B, 3, H, W] of 0 to 1 and their prompts (empty without prompts) to a score of each, 1 for perfect."""


class Trial(BaseModel):
    """What was tried.

    Args:
        run_tag, settings: what.
        seconds: median per picture, without text and decoder.
        damage: mean squared distance of the latent map to the full run's, over the full run's mean square.
    """

    model_config = ConfigDict(extra="forbid")
    run_tag: str
    settings: dict[str, Any]
    seconds: float = Field(ge=0)
    damage: float = Field(ge=0)


class Verification(BaseModel):
    """A candidate on other prompts.

    Args:
        run_tag: what.
        pictures: how many were painted; fewer than asked where it was given up.
        speed_up: median over pictures of the full run's time over its own, text and decoder included.
        quality_drop: mean score of the full run less its own.
        worse, better: pictures whose score fell, and rose.
        kept: whether the budget was kept.
    """

    model_config = ConfigDict(extra="forbid")
    run_tag: str
    pictures: int
    speed_up: float
    quality_drop: float
    worse: int
    better: int
    kept: bool


class CacheProposal(BaseModel):
    """What `plan_cache` found, and why.

    Args:
        settings: the fields of `config`.
        max_quality_drop: the budget.
        judged_by: what scored the pictures.
        tried: everything that the search painted, in its order.
        verified: the candidates that were painted on other prompts, fastest first.
        seed, cfg: how it painted.
    """

    model_config = ConfigDict(extra="forbid")
    settings: dict[str, Any]
    max_quality_drop: float
    judged_by: Literal["program", "latent", "caller"]
    tried: list[Trial]
    verified: list[Verification]
    seed: int
    cfg: float

    @property
    def config(self) -> HARTCacheConfig:
        """The settings to use; no cache where nothing faster keeps the budget."""
        return HARTCacheConfig.from_dict(self.settings)

    @property
    def speed_up(self) -> float:
        """Measured on the verification's prompts; 1.0 where nothing faster keeps the budget."""
        return next((found.speed_up for found in self.verified if found.kept), 1.0)

    @property
    def quality_drop(self) -> float:
        """Measured on the verification's prompts."""
        return next((found.quality_drop for found in self.verified if found.kept), 0.0)

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Save; an interrupted save leaves the old file."""
        write_whole(path, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> "CacheProposal":
        """Load a saved proposal.

        Raises:
            FileNotFoundError: no such file.
            ValueError: it is no proposal; the message names the first thing that is wrong.
        """
        return read_record(cls, path, "a cache proposal", "plan_cache(...).to_json(path)")


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

    def __post_init__(self) -> None:
        if not is_number(self.max_quality_drop) or not 0 <= self.max_quality_drop <= 1:
            raise ValueError(f"max_quality_drop is {self.max_quality_drop!r}; allowed is a number from 0 to 1.")
        for name in ("num_search", "num_verify"):
            check_count(name, getattr(self, name))


@dataclass(frozen=True)
class Painted:
    """A picture's latent map [1, c, P, P] and the seconds it took."""

    f_hat: Tensor
    seconds: float


class Studio:
    """Paints N pictures, one at a time, under any settings.

    Args:
        model: a wrapper of its own.
        subjects: what is painted.
        first_seed: picture i is painted with this + i.
        cfg: guidance scale.
    """

    def __init__(self, model: "EnhancedHARTForT2I", subjects: Subjects, first_seed: int, cfg: float):
        self.model, self.first_seed, self.cfg = model, first_seed, cfg
        self.prompts = subjects.prompts
        self.arguments = [subjects.arguments(index, 1) for index in range(subjects.count)]
        self.plain = [self.paint(index) for index in range(subjects.count)]

    def paint(self, index: int, config: HARTCacheConfig | None = None) -> Painted:
        """Picture `index`; None paints without cache."""
        self.model.set_cache_config(config)
        watch = Stopwatch(self.model.device)
        f_hat = self.model.autoregressive_infer_cfg(
            1, g_seed=self.first_seed + index, cfg=self.cfg, decode=False, **self.arguments[index]
        )
        return Painted(f_hat, watch.lap())

    def prompt(self, index: int) -> list[str]:
        """The prompt of a picture, for a judge; empty without prompts."""
        return [] if self.prompts is None else [self.prompts[index % len(self.prompts)]]

    def trial(self, config: HARTCacheConfig) -> Trial:
        """All pictures under these settings, beside the full run's."""
        painted = [self.paint(index, config) for index in range(len(self.plain))]
        damages = [_damage(ours, plain) for ours, plain in zip(painted, self.plain, strict=True)]
        return Trial(
            run_tag=config.run_tag(),
            settings=config.to_dict(),
            seconds=statistics.median(ours.seconds for ours in painted),
            damage=statistics.fmean(damages),
        )


def plan(model: "EnhancedHARTForT2I", prompts: Sequence[str] | None, settings: PlanSettings) -> CacheProposal:
    """Search, then verify (see the head of this file).

    Args:
        model: a wrapper of its own, whose settings nobody else uses.
        prompts: what to paint; None for what the checkpoint offers.
        settings: how.
    """
    search_prompts, verify_prompts = _split(model, prompts, settings)
    studio = Studio(model, Subjects(model, settings.num_search, search_prompts), settings.seed, settings.cfg)
    tried = _search(studio, settings.progress)
    # Other seeds than the search's, whatever their number.
    first_seed = settings.seed + settings.num_search
    studio = Studio(model, Subjects(model, settings.num_verify, verify_prompts), first_seed, settings.cfg)
    verified, chosen = _verify(studio, _front(tried), settings)
    return CacheProposal(
        settings=(chosen or HARTCacheConfig.from_preset("no-cache")).to_dict(),
        max_quality_drop=settings.max_quality_drop,
        judged_by=_judged_by(model, verify_prompts, settings),
        tried=tried,
        verified=verified,
        seed=settings.seed,
        cfg=settings.cfg,
    )


# -- search ----------------------------------------------------------------------------------------------------------


def _search(studio: Studio, progress: bool) -> list[Trial]:
    """Every trial, in order: token selectors, the descent over treatments, reuse by similarity."""
    stages = [side * side for side in studio.model.config.patch_nums]
    reuse = reuse_by_similarity(_similarities(studio), stages)
    steps = LATE_STAGES * len(SHARES)  # at most; the bar ends early
    with tqdm(total=len(reuse) + steps, desc="planning", unit="step", disable=not progress) as bar:
        tried = []
        for config in reuse:
            tried.append(studio.trial(config))
            bar.update()
        current, here = _start(studio, stages)
        while (step := _next_step(studio, current, here)) is not None:
            current, here, trials = step
            tried += trials
            bar.update()
    return tried


def _start(studio: Studio, stages: Sequence[int]) -> tuple[Treatment, Trial]:
    """The full run, with the token selector that does least damage at half of the last stage."""
    damages = {}
    for selector in SELECTORS_TRIED:
        start = nothing_left_out(stages, selector)
        half = Treatment(start.stages, (*start.shares[:-1], 0.5), selector=selector)
        damages[selector] = studio.trial(half.config()).damage
    start = nothing_left_out(stages, min(damages, key=lambda selector: damages[selector]))
    return start, studio.trial(start.config())


def _next_step(studio: Studio, current: Treatment, here: Trial) -> tuple[Treatment, Trial, list[Trial]] | None:
    """The cheaper treatment that saves most time per damage, its trial, and all trials of this step."""
    options = [(treatment, studio.trial(treatment.config())) for treatment in cheaper(current)]
    worth = [(t, trial) for t, trial in options if trial.seconds < here.seconds]
    if not worth:
        return None
    treatment, trial = max(worth, key=lambda option: _gain(here, option[1]))
    return treatment, trial, [tried for _, tried in options]


def _gain(here: Trial, there: Trial) -> float:
    return (here.seconds - there.seconds) / max(there.damage - here.damage, 1e-6)


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
    for trial in sorted(tried, key=lambda t: (t.seconds, t.damage)):
        if not front or trial.damage < front[-1].damage:
            front.append(trial)
    return front


def _damage(ours: Painted, plain: Painted) -> float:
    return float(F.mse_loss(ours.f_hat, plain.f_hat) / plain.f_hat.square().mean().clamp_min(1e-12))


# -- verification ----------------------------------------------------------------------------------------------------


def _verify(
    studio: Studio, front: Sequence[Trial], settings: PlanSettings
) -> tuple[list[Verification], HARTCacheConfig | None]:
    """Candidates from the fastest on, until one keeps the budget; and that one."""
    score = _scorer(studio, settings)
    decode = _decoder_seconds(studio)
    plain_scores = [score(index, plain) for index, plain in enumerate(studio.plain)]
    verified = []
    for trial in tqdm(front, desc="verifying", unit="setting", disable=not settings.progress):
        config = HARTCacheConfig.from_dict(trial.settings)
        ratios, drops = [], []
        for index, plain_score in enumerate(plain_scores):
            plain, ours = studio.paint(index), studio.paint(index, config)
            ratios.append((plain.seconds + decode) / (ours.seconds + decode))
            drops.append(plain_score - score(index, ours))
            if sum(drops) > settings.max_quality_drop * len(plain_scores) + HOPELESS_LOSSES:
                break
        drop = statistics.fmean(drops)
        verified.append(
            Verification(
                run_tag=trial.run_tag,
                pictures=len(drops),
                speed_up=statistics.median(ratios),
                quality_drop=drop,
                worse=sum(value > 0 for value in drops),
                better=sum(value < 0 for value in drops),
                kept=len(drops) == len(plain_scores) and drop <= settings.max_quality_drop,
            )
        )
        if verified[-1].kept and verified[-1].speed_up > 1:
            return verified, config
        verified[-1].kept = False  # a slower setting than the full run is none to use
    return verified, None


def _scorer(studio: Studio, settings: PlanSettings) -> Callable[[int, Painted], float]:
    """Score of a picture, from 0 to 1: by the caller's judge, by program, or by its likeness to the full run's."""
    model, judge = studio.model, settings.judge
    kind = _judged_by(model, studio.prompts, settings)
    if kind == "latent":
        return lambda index, ours: 1 - min(1.0, _damage(ours, studio.plain[index]))
    judge = judge if judge is not None else _shows_its_prompt

    def score(index: int, ours: Painted) -> float:
        images = model.latent_to_img(ours.f_hat).float().clamp(0, 1)
        return float(judge(images, studio.prompt(index))[0])

    return score


def _shows_its_prompt(images_B3HW: Tensor, prompts: Sequence[str]) -> list[float]:
    pictures = (images_B3HW * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    checks = check_pictures(np.asarray(pictures), [parse_caption(prompt) for prompt in prompts])
    return [float(check.overall) for check in checks]


def _decoder_seconds(studio: Studio) -> float:
    """Median seconds of decoding a picture: the same for all settings, and part of every speed-up."""
    seconds = []
    for painted in studio.plain[:5]:
        watch = Stopwatch(studio.model.device)
        studio.model.latent_to_img(painted.f_hat)
        seconds.append(watch.lap())
    return statistics.median(seconds)


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


__all__ = ["CacheProposal", "PlanSettings", "Trial", "Verification", "plan"]
