"""Plans, made before the measurement with everybody else's rules as candidates."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hart.benchmark.peers import peer_names, read_peer
from hart.benchmark.settings import NamedSetting, plan_setting
from hart.benchmark.similarity import measured_table, needs_table
from hart.benchmark.work import WorkRequest, describe_work
from hart.modules.cache.proposal import CacheProposal
from hart.modules.cache_config import HARTCacheConfig
from hart.modules.cache_planner import fitting_presets
from hart.modules.enhanced_hart import EnhancedHARTForT2I
from hart.pipeline import HARTPipeline

logger = logging.getLogger(__name__)

PLAN_NAME = "plan"
PLAN = f"{PLAN_NAME}.json"


def peer_configs(patch_nums: Sequence[int]) -> list[HARTCacheConfig]:
    """Settings of all peers that fit a pyramid, as candidates for `plan_cache`."""
    found = []
    for name in peer_names():
        try:
            found.append(read_peer(name, patch_nums)[1])
        except ValueError as error:
            logger.warning("left out: %s", error)
    return found


def planned_setting(
    pipeline: HARTPipeline,
    budget: float,
    request: WorkRequest,
    folder: Path,
    checkpoint: str | None = None,
    min_psnr: float | None = None,
    num_search: int = 12,
    num_verify: int = 100,
    candidates: Sequence[HARTCacheConfig] | None = None,
    progress: bool = True,
) -> NamedSetting:
    """Plan, save `plan.json` in the folder, and give the plan as a setting; a plan that lies there is taken as it is.

    Args:
        pipeline: what paints.
        budget, min_psnr, num_search, num_verify: see `EnhancedHARTForT2I.plan_cache`.
        request: seeds and guidance of the run; the plan is made with seeds that the run does not use.
        folder: of the run.
        checkpoint: where the pipeline was loaded from.
        candidates: settings that the plan must not fall behind; None: presets and peers.
        progress: show bars.
    """
    path = folder / PLAN
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        work = describe_work(pipeline, checkpoint, request)
        sides = pipeline.model.config.patch_nums
        given = fitting_presets(sides) + peer_configs(sides) if candidates is None else list(candidates)
        if any(map(needs_table, given)):
            table = str(measured_table(pipeline, work, folder).path)
            given = [replace(config, sim_path=table) if needs_table(config) else config for config in given]
        EnhancedHARTForT2I.from_hart(pipeline.model).plan_cache(
            budget,
            list(request.prompts) or None,
            # Other seeds than the run's, and other held-out scenes where the program draws them.
            work.seed + 100_000,
            num_search=num_search,
            num_verify=num_verify,
            cfg=work.guidance_scale,
            candidates=given,
            min_psnr=min_psnr,
            progress=progress,
        ).to_json(path)
    found = CacheProposal.from_json(path)
    _check(found, budget, min_psnr, path)
    return plan_setting(PLAN_NAME, found)


def _check(found: CacheProposal, budget: float, min_psnr: float | None, path: Path) -> None:
    """A plan of an earlier call is gone on with only where it was made for the same budget."""
    there, here = (found.max_quality_drop, found.min_psnr), (budget, min_psnr)
    if there != here:
        raise ValueError(
            f"{str(path)!r} was planned for a drop and PSNR of {there}, not {here}; choose another folder or budget."
        )
