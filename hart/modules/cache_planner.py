"""The planner: search the settings that are fastest within a budget of quality, with the evidence.

Three parts, all on this machine and these weights. *Search*: try the candidates given (presets, other people's rules)
and settings that reuse the branches which were most alike; then, from the full run, take the cheaper treatment of a
stage that saves most time per damage to the latent map, again and again (`hart/modules/cache/moves.py`). *Verify*: of
all that was tried, take what nothing else beats in time and damage, and every candidate; paint other prompts, from the
fastest on, until one keeps the budget; those that are nearly as fast are painted, too. *Refine*: from the fastest that
keeps the budget go on in steps that are cheaper still, as long as one of them keeps it. The fastest that does wins, so
no candidate that keeps the budget is faster than the proposal, as far as these pictures tell.
"""

import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from hart.evaluation import draw_scenes, parse_caption
from hart.modules.cache.planner_search import refine, search, to_verify
from hart.modules.cache.planner_studio import Studio
from hart.modules.cache.planner_verify import SAME_PICTURES_DB, Judge, JudgedBy, Verifier
from hart.modules.cache.proposal import FORMAT, CacheProposal, PlanCost, Trial, Verification, fastest_kept
from hart.modules.cache_config import HARTCacheConfig
from hart.modules.cache_prompts import Subjects, check_count, is_embedded_model
from hart.utils.numbers import is_number

if TYPE_CHECKING:
    from hart.modules.enhanced_hart import EnhancedHARTForT2I


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


def plan(model: "EnhancedHARTForT2I", prompts: Sequence[str] | None, settings: PlanSettings) -> CacheProposal:
    """Search, then verify (see the head of this file).

    Args:
        model: a wrapper of its own, whose settings nobody else uses.
        prompts: what to paint; None for what the checkpoint offers.
        settings: how.
    """
    begun = time.perf_counter()
    search_prompts, verify_prompts = _split(model, prompts, settings)
    judged_by = _judged_by(model, verify_prompts, settings)
    candidates = _candidates(model, settings)
    studio = Studio(model, Subjects(model, settings.num_search, search_prompts), settings.seed, settings.cfg)
    tried = search(studio, candidates, settings.progress)
    # Other seeds than the search's, whatever their number.
    first_seed = settings.seed + settings.num_search
    other = Studio(model, Subjects(model, settings.num_verify, verify_prompts), first_seed, settings.cfg)
    verifier = Verifier(
        other, judged_by, settings.judge, settings.max_quality_drop, settings.min_psnr, settings.progress
    )
    verified = verifier.first_that_keep(to_verify(tried))
    tried += refine(studio, verifier, verified, settings.progress)
    chosen = fastest_kept(verified)
    return CacheProposal(
        format=FORMAT,
        settings=chosen.settings if chosen is not None else HARTCacheConfig.from_preset("no-cache").to_dict(),
        max_quality_drop=settings.max_quality_drop,
        min_psnr=settings.min_psnr,
        judged_by=judged_by,
        tried=tried,
        verified=verified,
        seed=settings.seed,
        cfg=settings.cfg,
        cost=_cost(model, settings, time.perf_counter() - begun, studio.num_painted + other.num_painted),
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


def _judged_by(model: "EnhancedHARTForT2I", prompts: Sequence[str] | None, settings: PlanSettings) -> JudgedBy:
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
