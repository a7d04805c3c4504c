"""Plans, made before the measurement with everybody else's rules as candidates."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hart.benchmark.results import Work
from hart.benchmark.run.journal import RUN, has_begun
from hart.benchmark.run.runner import identity
from hart.benchmark.run.similarity import FILE as TABLE
from hart.benchmark.run.similarity import measured_table, needs_table
from hart.benchmark.run.work import SPLIT, WorkRequest, describe_work, scenes_of
from hart.benchmark.settings.choose import NamedSetting, plan_setting
from hart.benchmark.settings.peers import peer_names, read_peer
from hart.evaluation import num_scenes
from hart.modules.cache.config import HARTCacheConfig
from hart.modules.enhanced_hart import EnhancedHARTForT2I
from hart.pipeline import HARTPipeline
from hart.tuning.planner import COUNTS, has_steps
from hart.tuning.planner.proposal import CacheProposal
from hart.utils.journal import read_identity, same_run
from hart.utils.machine import this_machine

logger = logging.getLogger(__name__)

PLAN_NAME = "plan"
PLAN, STEPS, REQUEST = f"{PLAN_NAME}.json", f"{PLAN_NAME}.jsonl", f"{PLAN_NAME}_request.json"
SEEDS_APART = 100_000
"""A plan paints with the run's first seed and so many more."""

FEWEST_PROMPTS = 3
"""One for each part of a plan."""

FEWEST_CAPTIONS = 96
"""Of held-out ones that a plan judges by: by fidelity, enough for verification and confirmation."""


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
        budget: most that the score may drop, as a share of pictures; None leaves it to `max_fidelity_loss`, or to
            `plan_cache`.
        min_psnr: least median PSNR in dB, or None.
        counts: pictures of search, verification and confirmation; None as `plan_cache` has it.
        candidates: settings that the plan must not fall behind; None: presets and peers.
        max_fidelity_loss: budget in dB instead of `budget`, for captions of the embedded model.
    """

    budget: float | None
    min_psnr: float | None = None
    counts: tuple[int, int | None, int | None] = (12, None, None)
    candidates: Sequence[HARTCacheConfig] | None = None
    max_fidelity_loss: float | None = None

    def __post_init__(self) -> None:
        if len(self.counts) != len(COUNTS):
            raise ValueError(f"counts is {self.counts!r}; allowed are three numbers: {', '.join(COUNTS)}.")


def planned_setting(
    pipeline: HARTPipeline,
    asked: PlanRequest,
    request: WorkRequest,
    folder: Path,
    checkpoint: str | None = None,
    progress: bool = True,
    any_revision: bool = False,
) -> NamedSetting:
    """Plan, save `plan.json` in the folder, and give the plan as a setting; a plan that lies there is taken as it is.

    A plan that was killed goes on from `plan.jsonl`; `plan_request.json` says what was planned for, and where.

    Args:
        pipeline: what paints.
        asked: what to plan for.
        request: seeds, guidance and prompts of the run; the plan is made with other seeds and other prompts than the
            run's, as far as there are any.
        folder: of the run.
        checkpoint: where the pipeline was loaded from.
        progress: show bars.
        any_revision: take or go on with a plan that another revision of the code began.

    Raises:
        ValueError: the folder holds a plan for other work, by other code or on another machine; or pictures are to be
            painted by compiled blocks, which the planner does not time.
    """
    if request.compiled:
        raise ValueError(
            "compiled is True with a plan; allowed is one of them: plan first, then measure plan.json compiled."
        )
    path = folder / PLAN
    work = describe_work(pipeline, checkpoint, request)
    seed = work.seed + SEEDS_APART
    prompts = _prompts(request, work)
    pipeline.checked_prompts([*work.prompts, *(prompts or ())], "truncate")
    folder.mkdir(parents=True, exist_ok=True)
    _check_folder(folder, _identity(pipeline, asked, work, prompts), ("git_revision",) if any_revision else ())
    if not path.is_file():
        num_search, num_verify, num_confirm = asked.counts
        EnhancedHARTForT2I.from_hart(pipeline.model).plan_cache(
            asked.budget,
            prompts,
            seed,
            num_search=num_search,
            num_verify=num_verify,
            num_confirm=num_confirm,
            cfg=work.guidance_scale,
            candidates=_candidates(pipeline, asked, work, folder, progress),
            min_psnr=asked.min_psnr,
            progress=progress,
            encode=pipeline.encode,
            kept_apart=_kept_apart(work),
            journal=folder / STEPS,
            max_fidelity_loss=asked.max_fidelity_loss,
        ).to_json(path)
    return plan_setting(PLAN_NAME, CacheProposal.from_json(path))


def _prompts(request: WorkRequest, work: Work) -> list[str] | None:
    """Given prompts that the run does not paint, or all where too few are left; None where none were given."""
    if not request.prompts:
        return None
    painted = frozenset(work.prompts)
    others = [prompt for prompt in request.prompts if prompt not in painted]
    if len(others) >= FEWEST_PROMPTS:
        return others
    logger.warning("the plan paints the prompts of the run, with other seeds, for there are too few others.")
    return list(request.prompts)


def _kept_apart(work: Work) -> frozenset[str]:
    """The run's captions, where enough others are left to plan with."""
    painted = frozenset(work.prompts)
    if scenes_of(work) is None or len(painted) <= num_scenes(SPLIT) - FEWEST_CAPTIONS:
        return painted
    logger.warning("the plan paints the captions of the run, with other seeds, for there are too few others.")
    return frozenset()


def _check_folder(folder: Path, identity: dict[str, Any], ignored: Sequence[str]) -> None:
    """Whether a plan for this can lie here and be measured here; known before hours of planning."""
    request, begun = folder / REQUEST, [PLAN] if (folder / PLAN).is_file() else []
    begun += [STEPS] if has_steps(folder / STEPS) else []
    if begun and not request.is_file():
        raise ValueError(
            f"output_dir {str(folder)!r} holds {begun[0]} and no {REQUEST} that says what it was planned for; choose "
            "another folder, or measure a plan with --files."
        )
    has_run = has_begun(folder)
    if not begun and not has_run and (request.is_file() or (folder / RUN).is_file()):
        for path in (request, folder / RUN, folder / STEPS, folder / TABLE):  # what was refused binds nobody
            path.unlink(missing_ok=True)
    if has_run:
        settings = read_identity(folder / RUN)["settings"]
        ours = {name: part for name, part in identity.items() if name != "plan"}
        same_run(folder / RUN, ours | {"settings": settings}, ignored)
        if PLAN_NAME not in settings:
            raise ValueError(f"output_dir {str(folder)!r} holds a run without a plan; choose another folder.")
    same_run(request, identity, ignored)


def _identity(pipeline: HARTPipeline, asked: PlanRequest, work: Work, prompts: list[str] | None) -> dict[str, Any]:
    """What must be equal for a plan to be taken, or to go on."""
    candidates = None if asked.candidates is None else [config.to_dict() for config in asked.candidates]
    plan = {
        "drop": asked.budget,
        "fidelity_loss": asked.max_fidelity_loss,
        "min_psnr": asked.min_psnr,
        "candidates": candidates,
        "prompts": prompts,
    }
    plan |= dict(zip(COUNTS, asked.counts, strict=True))
    return identity([], work, this_machine(pipeline.device)) | {"plan": plan}


def _candidates(
    pipeline: HARTPipeline, asked: PlanRequest, work: Work, folder: Path, progress: bool
) -> list[HARTCacheConfig]:
    """Those asked for, with the run's table where they need one."""
    sides = work.patch_nums
    given = (
        [*HARTCacheConfig.fitting_presets(sides).values(), *peer_configs(sides)]
        if asked.candidates is None
        else list(asked.candidates)
    )
    if not any(map(needs_table, given)):
        return given
    table = str(measured_table(pipeline, work, folder, progress).path)
    return [replace(config, sim_path=table) if needs_table(config) else config for config in given]
