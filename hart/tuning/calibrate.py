"""Thresholds from measured similarities: `EnhancedHARTForT2I.calibrate_thresholds`.

The rule: per branch, the 20th percentile of what a run will compare with the threshold at the skip stages: entries of
the table, or online estimates. With it about four of five decisions on typical pictures reuse, and the fifth that is
least alike computes.
"""

import copy
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tqdm.auto import tqdm

from hart.modules.cache.config import HARTCacheConfig
from hart.modules.cache.rules import TableKey
from hart.modules.cache.similarity_table import LOW_PERCENTILE, Calibration
from hart.tuning.model import TunedModel
from hart.tuning.painter import Painter
from hart.tuning.workload import Workload, check_count
from hart.utils.files import check_target
from hart.utils.intervals import percentile, summary

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
    model: TunedModel,
    workload: Workload,
    settings: CalibrationSettings,
    sim_path: str | os.PathLike[str] | None,
    loaded: Mapping[TableKey, float],
) -> dict[str, Any]:
    """Paint, compare each stage with what it would reuse, and recommend (see the head of this file).

    Args:
        model: a wrapper of its own with the settings that decide, see `deciding_config`.
        workload: what is painted.
        settings: how.
        sim_path: where the table goes; None for nowhere.
        loaded: the table that a run has already; empty for none.
    """
    if sim_path is not None:
        check_target(sim_path, "sim_path")
    config = model.cache_config
    assert config is not None
    recorded, skip_stages = _record(model, workload, settings), sorted(config.skip_stages)
    table = recorded.table() if sim_path is not None else dict(loaded)
    calibrated = bool(table) and config.estimator != "online" and config.unselected == "reuse"
    found: dict[str, Any] = {}
    for branch in BRANCHES:
        entries = sorted(v for (kind, _, stage), v in table.items() if kind == branch and stage in skip_stages)
        compared = entries if calibrated else recorded.estimates(branch, skip_stages)
        # Branches that are switched off compare nothing.
        found[f"{branch}_threshold"] = _recommended(compared or recorded.values(branch, skip_stages))
    for branch in BRANCHES:
        values = recorded.values(branch, skip_stages)
        found[branch] = {**summary(values), "low": percentile(values, LOW_PERCENTILE), "count": len(values)}
    found["per_stage"] = _per_stage(recorded)
    found |= {
        "estimator": "calibrated" if calibrated else "online",
        "skip_stages": skip_stages,
        "num_samples": settings.num_samples,
        "seed": settings.seed,
        "cfg": settings.cfg,
        "painted": workload.words,
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


def deciding_config(config: HARTCacheConfig | None, patch_nums: Sequence[int]) -> HARTCacheConfig:
    """The settings whose skip stages and comparisons decide, without a table.

    Where they skip nothing: those of `original-cache`, or on a pyramid too short for it all stages but the first.
    """
    if config is not None and config.skip_stages:
        return replace(config, sim_path=None, estimator="online" if config.estimator == "online" else "auto")
    try:
        return HARTCacheConfig.from_preset("original-cache", patch_nums=patch_nums)
    except ValueError:
        stages = [side * side for side in patch_nums]
        return HARTCacheConfig(skip_stages=stages[1:], cache_stages=stages[:-1])


def _record(model: TunedModel, workload: Workload, settings: CalibrationSettings) -> Calibration:
    model.calibration, model.sim_path = True, None
    painter = Painter(model, workload, settings.seed, settings.cfg)
    starts = range(0, settings.num_samples, check_count("batch_size", settings.batch_size))
    with tqdm(total=settings.num_samples, desc="calibrating", unit="picture", disable=not settings.progress) as bar:
        for start in starts:
            size = min(settings.batch_size, settings.num_samples - start)
            painter.paint(start, size)
            bar.update(size)
    return model.recorded_similarities


def _recommended(values: list[float]) -> float:
    """Rounded down, so that a similarity that equals the percentile still reaches it."""
    low = math.floor(percentile(values, LOW_PERCENTILE) * 1e4) / 1e4
    return min(max(low, LEAST_THRESHOLD), 1.0)


def _per_stage(recorded: Calibration) -> dict[str, dict[str, float]]:
    """Mean similarity by stage and branch."""
    found: dict[str, dict[str, float]] = {}
    for stage in sorted({key[2] for key in recorded.table()}):
        values = {branch: recorded.values(branch, [stage]) for branch in BRANCHES}
        found[str(stage)] = {branch: sum(seen) / len(seen) for branch, seen in values.items() if seen}
    return found
