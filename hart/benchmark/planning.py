"""Plans, made before the measurement with everybody else's rules as candidates."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hart.benchmark.peers import peer_names, read_peer
from hart.benchmark.results import Work
from hart.benchmark.settings import NamedSetting, plan_setting
from hart.benchmark.similarity import measured_table, needs_table
from hart.benchmark.work import WorkRequest, describe_work
from hart.modules.cache.proposal import CacheProposal
from hart.modules.cache_config import HARTCacheConfig
from hart.modules.cache_planner import COUNTS, fitting_presets
from hart.modules.enhanced_hart import EnhancedHARTForT2I
from hart.pipeline import HARTPipeline

logger = logging.getLogger(__name__)

PLAN_NAME = "plan"
PLAN, STEPS = f"{PLAN_NAME}.json", f"{PLAN_NAME}.jsonl"
SEEDS_APART = 100_000
"""A plan paints with the run's first seed and so many more."""


def peer_configs(patch_nums: Sequence[int]) -> list[HARTCacheConfig]:
    """Settings of all peers that fit a pyramid, as candidates for `plan_cache`."""
    found = []
    for name in peer_names():
        try:
            found.append(read_peer(name, patch_nums)[1])
        except ValueError as error:
            logger.warning("left out: %s", error)
    return found


@dataclass(frozen=True)
class PlanRequest:
    """What to plan for, see `EnhancedHARTForT2I.plan_cache`.

    Args:
        budget: most that the score may drop, as a share of pictures.
        min_psnr: least median PSNR in dB, or None.
        counts: pictures of search, verification and confirmation.
        candidates: settings that the plan must not fall behind; None: presets and peers.
    """

    budget: float
    min_psnr: float | None = None
    counts: tuple[int, int, int] = (12, 100, 200)
    candidates: Sequence[HARTCacheConfig] | None = None


def planned_setting(
    pipeline: HARTPipeline,
    asked: PlanRequest,
    request: WorkRequest,
    folder: Path,
    checkpoint: str | None = None,
    progress: bool = True,
) -> NamedSetting:
    """Plan, save `plan.json` in the folder, and give the plan as a setting; a plan that lies there is taken as it is.

    A plan that was killed goes on from `plan.jsonl`.

    Args:
        pipeline: what paints.
        asked: what to plan for.
        request: seeds and guidance of the run; the plan is made with other seeds, and other captions of the embedded
            model, than the run's.
        folder: of the run.
        checkpoint: where the pipeline was loaded from.
        progress: show bars.

    Raises:
        ValueError: the folder holds another plan.
    """
    path = folder / PLAN
    work = describe_work(pipeline, checkpoint, request)
    seed = work.seed + SEEDS_APART
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        num_search, num_verify, num_confirm = asked.counts
        EnhancedHARTForT2I.from_hart(pipeline.model).plan_cache(
            asked.budget,
            list(request.prompts) or None,
            seed,
            num_search=num_search,
            num_verify=num_verify,
            num_confirm=num_confirm,
            cfg=work.guidance_scale,
            candidates=_candidates(pipeline, asked, work, folder),
            min_psnr=asked.min_psnr,
            progress=progress,
            encode=pipeline.encode,
            kept_apart=frozenset(work.prompts),
            journal=folder / STEPS,
        ).to_json(path)
    found = CacheProposal.from_json(path)
    _check(found, asked, work.guidance_scale, seed, path)
    return plan_setting(PLAN_NAME, found)


def _candidates(pipeline: HARTPipeline, asked: PlanRequest, work: Work, folder: Path) -> list[HARTCacheConfig]:
    """Those asked for, with the run's table where they need one."""
    sides = work.patch_nums
    given = fitting_presets(sides) + peer_configs(sides) if asked.candidates is None else list(asked.candidates)
    if not any(map(needs_table, given)):
        return given
    table = str(measured_table(pipeline, work, folder).path)
    return [replace(config, sim_path=table) if needs_table(config) else config for config in given]


def _check(found: CacheProposal, asked: PlanRequest, cfg: float, seed: int, path: Path) -> None:
    """A plan of an earlier call is used only where it is the one asked for."""
    there = {"drop": found.max_quality_drop, "PSNR": found.min_psnr, "guidance": found.cfg, "seed": found.seed}
    there |= {name: getattr(found.cost, name) for name in COUNTS}
    here = {"drop": asked.budget, "PSNR": asked.min_psnr, "guidance": cfg, "seed": seed}
    here |= dict(zip(COUNTS, asked.counts, strict=True))
    for name, value in here.items():
        if there[name] != value:
            raise ValueError(f"{str(path)!r} was planned for {name} {there[name]}, not {value}; choose another folder.")
