"""Thresholds from measured similarities: `EnhancedHARTForT2I.calibrate_thresholds`.

The rule: per branch, the 20th percentile of the true similarities at the skip stages. With it about four of five
decisions on typical pictures reuse, and the fifth that is least alike computes.
"""

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from hart.modules.cache.calibration import LOW_PERCENTILE, Calibration
from hart.modules.cache.statistics import percentile, summary
from hart.modules.cache_config import HARTCacheConfig
from hart.modules.cache_prompts import Subjects, check_count

if TYPE_CHECKING:
    from hart.modules.enhanced_hart import EnhancedHARTForT2I

BRANCHES = ("attn", "mlp")
LEAST_THRESHOLD = 0.01
"""A recommended threshold is never 0, which would mean that nothing is compared."""


@dataclass(frozen=True)
class CalibrationSettings:
    """How calibration paints, see `calibrate_thresholds`."""

    num_samples: int
    seed: int
    batch_size: int
    cfg: float
    progress: bool


def calibrate(
    model: "EnhancedHARTForT2I",
    subjects: Subjects,
    settings: CalibrationSettings,
    skip_stages: Sequence[int],
    sim_path: str | os.PathLike[str] | None,
) -> dict[str, Any]:
    """Paint, compare each stage with the one before, and recommend (see the head of this file).

    Args:
        model: a wrapper of its own, whose settings nobody else uses.
        subjects: what is painted.
        settings: how.
        skip_stages: stages whose similarities decide.
        sim_path: where the table goes; None for nowhere.
    """
    recorded = _record(model, subjects, settings)
    found: dict[str, Any] = {
        f"{branch}_threshold": _recommended(recorded.values(branch, skip_stages)) for branch in BRANCHES
    }
    for branch in BRANCHES:
        values = recorded.values(branch, skip_stages)
        found[branch] = {**summary(values), "low": percentile(values, LOW_PERCENTILE), "count": len(values)}
    found["per_stage"] = _per_stage(recorded)
    found |= {
        "skip_stages": list(skip_stages),
        "num_samples": settings.num_samples,
        "seed": settings.seed,
        "cfg": settings.cfg,
        "painted": subjects.words,
        "sim_path": None if sim_path is None else os.fspath(sim_path),
    }
    if sim_path is not None:
        recorded.to_json(sim_path)
    return found


def recommended_config(base: HARTCacheConfig, found: dict[str, Any]) -> HARTCacheConfig:
    """The settings with the thresholds that were found, and with the table where it was saved."""
    config = copy.deepcopy(base)
    config.attn_threshold, config.mlp_threshold = found["attn_threshold"], found["mlp_threshold"]
    config.sim_path = found["sim_path"] or config.sim_path
    return config


def calibration_stages(config: HARTCacheConfig | None, patch_nums: Sequence[int]) -> list[int]:
    """The stages that a configuration skips; without any, those of `original-cache`, or else all but the first."""
    if config is not None and config.skip_stages:
        return sorted(config.skip_stages)
    try:
        return sorted(HARTCacheConfig.from_preset("original-cache", patch_nums=patch_nums).skip_stages)
    except ValueError:  # a pyramid too short for the preset
        return [side * side for side in patch_nums[1:]]


def _record(model: "EnhancedHARTForT2I", subjects: Subjects, settings: CalibrationSettings) -> Calibration:
    model.calibration, model.sim_path = True, None
    starts = range(0, settings.num_samples, check_count("batch_size", settings.batch_size))
    with tqdm(total=settings.num_samples, desc="calibrating", unit="picture", disable=not settings.progress) as bar:
        for start in starts:
            size = min(settings.batch_size, settings.num_samples - start)
            arguments = subjects.arguments(start, size)
            seeds = [settings.seed + start + row for row in range(size)]
            model.autoregressive_infer_cfg(size, g_seed=seeds, cfg=settings.cfg, decode=False, **arguments)
            bar.update(size)
    return model.recorded_similarities


def _recommended(values: list[float]) -> float:
    return round(min(max(percentile(values, LOW_PERCENTILE), LEAST_THRESHOLD), 1.0), 4)


def _per_stage(recorded: Calibration) -> dict[str, dict[str, float]]:
    """Mean similarity by stage and branch."""
    found: dict[str, dict[str, float]] = {}
    for stage in sorted({place[2] for place in recorded.table()}):
        values = {branch: recorded.values(branch, [stage]) for branch in BRANCHES}
        found[str(stage)] = {branch: sum(seen) / len(seen) for branch, seen in values.items() if seen}
    return found
