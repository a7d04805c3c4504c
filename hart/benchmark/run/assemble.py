"""From finished batches to the figures of a setting."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hart.benchmark.results import Quality, Setting, Work
from hart.benchmark.run.batches import BatchRecord
from hart.benchmark.run.journal import PICTURES
from hart.benchmark.run.memory import memory_of
from hart.benchmark.run.similarity import is_table_of
from hart.benchmark.settings.choose import NamedSetting
from hart.utils.intervals import spread_of


@dataclass(frozen=True)
class Finished:
    """A setting with its batches in order, and what `measure_peak` found of it (None: not measured)."""

    setting: NamedSetting
    records: list[BatchRecord]
    peak: dict[str, Any] | None

    @property
    def files(self) -> list[str]:
        """All pictures in order, relative to the output folder."""
        return [file for record in self.records for file in record.files]


def assemble(finished: Sequence[Finished], work: Work, qualities: Sequence[Quality], table: Path) -> list[Setting]:
    """The figures of every setting; the first is no-cache, which the others are compared with.

    Args:
        finished: the settings, each with as many pictures as the others.
        work: what was painted.
        qualities: what was judged of each.
        table: where the run's own table of similarities lies; settings name it relative to its folder.
    """
    return [_setting(one, finished[0], work, quality, table) for one, quality in zip(finished, qualities, strict=True)]


def _setting(one: Finished, plain: Finished, work: Work, quality: Quality, table: Path) -> Setting:
    records, whole = one.records, whole_batches(one.records)
    cache_peak = max(record.cache_peak_bytes for record in records)
    hit_count, decisions = (sum(getattr(record, name) for record in records) for name in ("hit_count", "decisions"))
    computed, saved = (sum(getattr(record, name) for record in records) for name in ("flops_computed", "flops_saved"))
    return Setting(
        name=one.setting.name,
        kind=one.setting.kind,
        why=one.setting.why,
        run_tag=one.setting.config.run_tag(),
        config=portable(one.setting.config.to_dict(), table),
        batch_seconds=spread_of([record.seconds for record in whole]),
        speed_up=spread_of(paired_ratios(plain.records, records)),
        parts={part: spread_of([record.parts[part] for record in whole]) for part in whole[0].parts},
        stages={
            str(side * side): spread_of([record.stages[index] for record in whole])
            for index, side in enumerate(work.patch_nums)
        },
        hit_rate=hit_count / decisions if decisions else 0.0,
        hits=hit_shares(one, work.depth),
        flops_computed=computed,
        flops_saved=saved / (saved + computed) if saved else 0.0,
        computed=computed_shares(one, plain, work),
        operations=operations_of(one.peak),
        operations_saved=operations_saved(one.peak, plain.peak),
        memory=memory_of(one.peak, plain.peak, cache_peak),
        quality=quality,
        folder=f"{PICTURES}/{one.setting.slug}",
    )


def portable(config: dict[str, Any], table: Path) -> dict[str, Any]:
    """Settings that name the run's own table relative to its folder, so that results of two folders compare."""
    return config | {"sim_path": table.name} if is_table_of(config, table) else config


def whole_batches(records: Sequence[BatchRecord]) -> list[BatchRecord]:
    """Batches as large as the first: a smaller last one would count as a fast one."""
    return [record for record in records if record.pictures == records[0].pictures]


def paired_ratios(plain: Sequence[BatchRecord], other: Sequence[BatchRecord]) -> list[float]:
    """No-cache's seconds over another setting's, round by round; without those that a kill split, if two remain."""
    theirs = {record.index: record for record in plain}
    pairs = [(theirs[record.index], record) for record in other]
    whole = [(there, here) for there, here in pairs if there.session == here.session]
    return [there.seconds / here.seconds for there, here in (whole if len(whole) > 1 else pairs)]


def computed_shares(one: Finished, plain: Finished, work: Work) -> dict[str, float]:
    """Share of no-cache's operations that a setting computed, by stage."""
    ours, theirs = (
        [sum(stage) for stage in zip(*(record.stage_flops for record in side.records), strict=True)]
        for side in (one, plain)
    )
    return {str(side * side): done / full for side, done, full in zip(work.patch_nums, ours, theirs, strict=True)}


def operations_of(peak: dict[str, Any] | None) -> dict[str, int]:
    """Operations of one batch by operator; empty where nothing was measured in a fresh process."""
    return {} if peak is None else dict(peak.get("operations", {}))


def operations_saved(peak: dict[str, Any] | None, plain: dict[str, Any] | None) -> float | None:
    """Share of no-cache's operations that a setting saved in one batch; None where either was not counted."""
    ours, theirs = (sum(operations_of(side).values()) for side in (peak, plain))
    return 1 - ours / theirs if ours and theirs else None


def hit_shares(one: Finished, depth: int) -> dict[str, dict[str, float]]:
    """Share of layers that reused, by branch and skipped stage, averaged over generations."""
    generations = sum(record.generations for record in one.records)
    stages = [str(stage) for stage in sorted(one.setting.config.skip_stages)]
    counts = {
        branch: {stage: sum(record.hits.get(branch, {}).get(stage, 0) for record in one.records) for stage in stages}
        for branch in ("attn", "mlp")
    }
    return {
        branch: {stage: count / (depth * generations) for stage, count in by_stage.items()}
        for branch, by_stage in counts.items()
    }
