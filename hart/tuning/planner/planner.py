"""The planner: search the settings that are fastest within a budget of quality, with the evidence.

Four parts, all on this machine and these weights. *Search*: try the candidates given (presets, other people's rules)
and settings that reuse the branches which were most alike; then, from the full run, take the cheaper treatment of a
stage that saves most time per damage to the latent map, again and again (`treatments.py`). *Verify*: of
all that was tried, take what nothing else beats in time and damage, and every candidate; paint other prompts, from the
fastest on, until one keeps the budget; those that are nearly as fast are painted, too. *Refine*: from the fastest that
keeps the budget go on in steps that are cheaper still, as long as one of them keeps it. *Confirm*: who picks the best
of many by one set of pictures is flattered by it; so what was kept paints a third set, the fastest first, and the first
that keeps the budget there, too, is the proposal, with the figures of that set. Where none does, slower settings are
verified and confirmed.
"""

import logging
import math
import os
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hart.modules.cache.config import HARTCacheConfig
from hart.tuning.model import TunedModel
from hart.tuning.planner.journal import PlanJournal
from hart.tuning.planner.prompts import JudgedBy, PlanPrompts, split_prompts, who_judges
from hart.tuning.planner.proposal import FORMAT, CacheProposal, PlanCost, Trial, Verification, fastest_kept
from hart.tuning.planner.search import refine, search, to_verify
from hart.tuning.planner.trials import TrialRunner
from hart.tuning.planner.verify import Judge, Verifier
from hart.tuning.workload import Encode, Workload, check_count
from hart.utils.digest import tensors_digest
from hart.utils.machine import conditions
from hart.utils.numbers import is_number
from hart.utils.psnr import PSNR_CAP
from hart.version import __version__

logger = logging.getLogger(__name__)

PICTURES_IN_BUDGET = 5
"""Where the budget is fewer pictures of the verification than this, chance decides which settings keep it."""

FEWEST_JUDGED, MOST_JUDGED, LATENT_MAPS = 20, 500, 32
"""Pictures of verification and confirmation where the caller gives no number: enough for the budget, within these
bounds, where each picture is right or wrong; latent maps, which differ by degrees, need few.
"""

QUALITY_DROP, FIDELITY_LOSS = 0.01, 0.5
"""Budgets where the caller gives none: of the score; in dB where fidelity is measured."""

FIDELITY_PICTURES = 48
"""Pictures of verification and confirmation by fidelity: their mean is known to some 0.2 dB."""

COUNTS = ("num_search", "num_verify", "num_confirm")
"""Pictures of every part, in the order of the parts."""


@dataclass(frozen=True)
class PlanSettings:
    """How the planner works, see `EnhancedHARTForT2I.plan_cache`."""

    max_quality_drop: float | None
    seed: int
    num_search: int
    num_verify: int | None
    num_confirm: int | None
    cfg: float
    judge: Judge | None
    progress: bool
    candidates: Sequence[HARTCacheConfig] | None = None
    min_psnr: float | None = None
    encode: Encode | None = None
    kept_apart: Collection[str] = ()
    journal: str | os.PathLike[str] | None = None
    max_fidelity_loss: float | None = None

    def __post_init__(self) -> None:
        drop, loss = self.max_quality_drop, self.max_fidelity_loss
        if drop is not None and (not is_number(drop) or not 0 <= drop <= 1):
            raise ValueError(f"max_quality_drop is {drop!r}; allowed is a number from 0 to 1.")
        if loss is not None and (not is_number(loss) or not 0 <= loss <= PSNR_CAP):
            raise ValueError(f"max_fidelity_loss must be None or a number from 0 to 100 (dB), got {loss!r}.")
        if drop is not None and loss is not None:
            raise ValueError(f"max_fidelity_loss must be None beside max_quality_drop={drop!r}, got {loss!r}.")
        if self.min_psnr is not None and (not is_number(self.min_psnr) or not 0 <= self.min_psnr <= PSNR_CAP):
            raise ValueError(f"min_psnr is {self.min_psnr!r}; allowed is None or a number from 0 to 100 (dB).")
        for name in COUNTS:
            if (count := getattr(self, name)) is not None or name == "num_search":
                check_count(name, count)

    @property
    def budget(self) -> float:
        """Most that the mean score may fall: a share, or dB of fidelity."""
        given = self.max_quality_drop if self.max_fidelity_loss is None else self.max_fidelity_loss
        return QUALITY_DROP if given is None else given

    def with_budget(self, judged_by: JudgedBy) -> tuple["PlanSettings", JudgedBy]:
        """These settings with a budget, and who judges by it: fidelity unless a drop of the score was asked for.

        Raises:
            ValueError: a budget of fidelity where the truth is not known.
        """
        if self.max_fidelity_loss is not None and judged_by != "program":
            raise ValueError(
                "max_fidelity_loss must be None but for captions of the embedded model without a judge, got "
                f"{self.max_fidelity_loss!r}."
            )
        if self.max_fidelity_loss is not None:
            return self, "fidelity"
        if self.max_quality_drop is not None:
            return self, judged_by
        if judged_by == "program":
            return replace(self, max_fidelity_loss=FIDELITY_LOSS), "fidelity"
        return replace(self, max_quality_drop=QUALITY_DROP), judged_by

    def counts(self, judged_by: JudgedBy) -> tuple[int, int, int]:
        """Pictures of search, verification and confirmation."""
        by_degrees = {"latent": LATENT_MAPS, "fidelity": FIDELITY_PICTURES}
        enough = by_degrees[judged_by] if judged_by in by_degrees else enough_pictures(self.budget)
        return self.num_search, self.num_verify or enough, self.num_confirm or enough


def enough_pictures(max_quality_drop: float) -> int:
    """So many right-or-wrong pictures that the budget is a few of them, or as many as are worth their time."""
    if max_quality_drop * MOST_JUDGED <= PICTURES_IN_BUDGET:
        return MOST_JUDGED
    return max(FEWEST_JUDGED, math.ceil(PICTURES_IN_BUDGET / max_quality_drop))


def plan(model: TunedModel, prompts: Sequence[str] | None, settings: PlanSettings) -> CacheProposal:
    """Search, verify, refine, confirm (see the head of this file).

    Args:
        model: what to plan for; wrappers that share its weights paint, and its own settings stay as they are.
        prompts: what to paint; None for what the checkpoint offers.
        settings: how.
    """
    begun = time.perf_counter()
    settings, judged_by = settings.with_budget(who_judges(model, prompts, settings.judge is not None))
    counts = settings.counts(judged_by)
    parts = split_prompts(model, prompts, counts, settings.seed, settings.kept_apart)
    _warn(settings, judged_by, counts)
    candidates = _candidates(model, settings)
    runners = _runners(model, parts, counts, settings, _identity(model, parts, counts, settings, judged_by))
    budget = (judged_by, settings.judge, settings.budget, settings.min_psnr, settings.progress)
    searching = next(runners)
    tried = search(searching, candidates, settings.progress)
    verifying = next(runners)
    verifier = Verifier(verifying, "verification", *budget)
    verified = verifier.verify_in_turn(to_verify(tried))
    tried += refine(searching, verifier, verified, settings.progress)
    confirming = next(runners)
    confirmed = confirm(verifier, Verifier(confirming, "confirmation", *budget), verified, tried)
    chosen = fastest_kept(confirmed)
    painted = sum(runner.num_painted for runner in (searching, verifying, confirming))
    return CacheProposal(
        format=FORMAT,
        settings=(HARTCacheConfig.from_preset("no-cache") if chosen is None else chosen.config).to_dict(),
        max_quality_drop=settings.max_quality_drop,
        max_fidelity_loss=settings.max_fidelity_loss,
        min_psnr=settings.min_psnr,
        judged_by=judged_by,
        tried=[trial for index, trial in enumerate(tried) if trial not in tried[:index]],
        verified=verified,
        confirmed=confirmed,
        seed=settings.seed,
        cfg=settings.cfg,
        cost=_cost(model, counts, time.perf_counter() - begun, painted),
    )


def confirm(
    verifier: Verifier, confirmer: Verifier, verified: list[Verification], tried: Sequence[Trial]
) -> list[Verification]:
    """What was kept, on the third set; where nothing is confirmed, slower settings are verified until something is.

    Args:
        verifier, confirmer: of the second and the third set of pictures.
        verified: what was verified so far; what is verified here is added.
        tried: everything that the search painted.
    """
    confirmed = confirmer.confirm(verified, tried)
    while fastest_kept(confirmed) is None:
        known = [found.settings for found in verified]
        more = verifier.verify_in_turn([trial for trial in to_verify(tried) if trial.settings not in known])
        if not more:
            break
        verified += more
        confirmed += confirmer.confirm(more, tried)
    return confirmed


def _warn(settings: PlanSettings, judged_by: JudgedBy, counts: tuple[int, int, int]) -> None:
    """A score of right or wrong needs many pictures for a small budget; the latent map is no score."""
    if judged_by == "fidelity":
        return  # differs by degrees, so that few pictures tell
    drop, fewest = settings.budget, min(counts[1:])
    if judged_by == "latent" and (drop < 1 or settings.min_psnr is None):
        logger.warning(
            "nobody judges these pictures, so that a drop of %g is damage to the latent map and no share of pictures; "
            "give judge, or max_quality_drop=1 and min_psnr.",
            drop,
        )
    if judged_by != "latent" and 0 < drop * fewest < PICTURES_IN_BUDGET:
        logger.warning(
            "a drop of %g is %.3g of %d pictures, so that chance decides what keeps it; from %d on for num_verify and "
            "num_confirm it is %d.",
            *(drop, drop * fewest, fewest, math.ceil(PICTURES_IN_BUDGET / drop), PICTURES_IN_BUDGET),
        )


def _runners(
    model: TunedModel,
    parts: PlanPrompts,
    counts: tuple[int, int, int],
    settings: PlanSettings,
    identity: dict[str, Any],
) -> Iterator[TrialRunner]:
    """A painter of every part, with prompts and seeds of its own; it begins to paint when it is asked for."""
    journal, first_seed, encode = PlanJournal(settings.journal, identity), settings.seed, settings.encode
    for prompts, count in zip(parts, counts, strict=True):
        workload = Workload(model, count, prompts, encode=encode)
        encode = workload.encode  # one text model reads for all
        yield TrialRunner(model, workload, first_seed, settings.cfg, journal)
        first_seed += count


def _identity(
    model: TunedModel,
    parts: PlanPrompts,
    counts: tuple[int, int, int],
    settings: PlanSettings,
    judged_by: JudgedBy,
) -> dict[str, Any]:
    """What must be equal for a killed plan to go on; judge and reader of prompts the caller must keep the same."""
    names = ("max_quality_drop", "max_fidelity_loss", "min_psnr", "seed", "cfg")
    return {
        **{name: getattr(settings, name) for name in names},
        **dict(zip(COUNTS, counts, strict=True)),
        "prompts": parts._asdict(),
        "judged_by": judged_by,
        "model": model.config.name_or_path,
        "weights": tensors_digest(model),
        "hart": __version__,
        **conditions(model.device, model.dtype),
    }


def _candidates(model: TunedModel, settings: PlanSettings) -> list[HARTCacheConfig]:
    """Settings to try beside the search's own; where none are given, all presets that fit the model."""
    sides, depth = model.config.patch_nums, model.config.depth
    if settings.candidates is None:
        return list(HARTCacheConfig.fitting_presets(sides).values())
    for index, config in enumerate(settings.candidates):
        if not isinstance(config, HARTCacheConfig):
            raise ValueError(f"candidates[{index}] is {config!r}; allowed are HARTCacheConfigs.")
        try:
            config.validate([side * side for side in sides], depth=depth)
        except ValueError as error:
            raise ValueError(f"candidates[{index}]: {error}") from error
    return [config for config in settings.candidates if not config.changes_nothing]


def _cost(model: TunedModel, counts: tuple[int, int, int], seconds: float, pictures: int) -> PlanCost:
    num_search, num_verify, num_confirm = counts
    return PlanCost(
        seconds=round(seconds, 1),
        pictures=pictures,
        num_search=num_search,
        num_verify=num_verify,
        num_confirm=num_confirm,
        **conditions(model.device, model.dtype),
    )


__all__ = ["COUNTS", "PlanSettings", "confirm", "plan"]
