"""What a cache setting costs and saves, measured: `EnhancedHARTForT2I.benchmark_performance`.

Both sides paint the same pictures in turn, so that whatever else the machine does meets both. Times are seconds per
batch unless they say otherwise; the device's queue is drained at every reading.
"""

import os
from dataclasses import dataclass, field
from typing import Any

from tqdm.auto import tqdm

from hart.tuning.model import TunedModel
from hart.tuning.painter import Painter, timed_parts
from hart.tuning.speed_report import BenchmarkReport
from hart.tuning.workload import Workload
from hart.utils.files import check_target
from hart.utils.intervals import spread_of
from hart.utils.machine import conditions
from hart.utils.memory import PeakMemory
from hart.utils.timing import Stopwatch


@dataclass(frozen=True)
class BenchmarkSettings:
    """How a benchmark paints, see `benchmark_performance`."""

    num_samples: int
    batch_size: int
    seed: int
    cfg: float
    warmup: int
    progress: bool


@dataclass
class Side:
    """One of the two that are compared: a wrapper of its own around the model, and what its batches took."""

    model: TunedModel
    totals: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=dict)
    stages: list[list[float]] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)

    def paint(self, painter: Painter, start: int, size: int, memory: PeakMemory) -> None:
        """Paint one batch and note its times and its peak of memory."""
        memory.restart()
        with timed_parts(self.model) as parts:
            painted = painter.paint(start, size, by_stage=True)
            watch = Stopwatch(self.model.device)
            self.model.latent_to_img(painted.f_hat)
            decoder = watch.lap()
        self.totals.append(painted.text + painted.seconds + decoder)
        self.stages.append(painted.stages)
        for name, seconds in {"text": painted.text, "decoder": decoder, **parts()}.items():
            self.parts.setdefault(name, []).append(seconds)
        self.peaks.append(memory.peak_bytes())

    def forget(self) -> None:
        """Warm-up is over."""
        self.totals, self.parts, self.stages, self.peaks = [], {}, [], []
        self.model.reset_cache_statistics()

    def report(self, batch_size: int) -> dict[str, Any]:
        """The figures of one side."""
        mean = sum(self.totals) / len(self.totals) / batch_size
        by_stage = zip(self.model.config.patch_nums, zip(*self.stages, strict=True), strict=True)
        return {
            "mean_time": mean,
            "throughput_img_per_sec": 1 / mean,
            "cache_hit_rate": self.model.get_cache_statistics()["cache_hit_rate"],
            "batch_seconds": spread_of(self.totals),
            "parts": {name: spread_of(seconds) for name, seconds in self.parts.items()},
            "stages": {str(side * side): spread_of(seconds) for side, seconds in by_stage},
        }


def benchmark(
    plain: TunedModel,
    cached: TunedModel,
    workload: Workload,
    settings: BenchmarkSettings,
    json_path: str | os.PathLike[str] | None,
) -> dict[str, Any]:
    """Paint with both in turn and report.

    Args:
        plain: a wrapper whose cache is off.
        cached: a wrapper with the settings in question.
        workload: what is painted.
        settings: how.
        json_path: where the report goes; None for nowhere.
    """
    if json_path is not None:
        check_target(json_path, "json_path")
    sides, memory = (Side(plain), Side(cached)), PeakMemory(plain.device)
    painters = [Painter(side.model, workload, settings.seed, settings.cfg) for side in sides]
    num_batches = -(-settings.num_samples // settings.batch_size)
    rounds = settings.warmup + num_batches
    with tqdm(total=2 * rounds, desc="benchmark", unit="batch", disable=not settings.progress) as bar:
        for index in range(rounds):
            start = max(0, index - settings.warmup) * settings.batch_size
            for turn in (0, 1) if index % 2 == 0 else (1, 0):
                sides[turn].paint(painters[turn], start, settings.batch_size, memory)
                bar.update()
            if index + 1 == settings.warmup:
                for side in sides:
                    side.forget()
    report = BenchmarkReport.model_validate(_figures(*sides, workload, settings, memory.method))
    if json_path is not None:
        report.to_json(json_path)
    return report.model_dump()


def _figures(
    plain: Side, cached: Side, workload: Workload, settings: BenchmarkSettings, memory_method: str
) -> dict[str, Any]:
    statistics = cached.model.get_cache_statistics()
    before, after = (side.report(settings.batch_size) for side in (plain, cached))
    whole = before["batch_seconds"].median
    outside = max(whole - before["parts"]["transformer"].median, 1e-9)
    config = cached.model.cache_config
    return {
        "run_tag": config.run_tag() if config is not None else "hart-nocache",
        "config": config.to_dict() if config is not None else None,
        "benchmark": after,
        "no_cache": before,
        "speed_up": whole / after["batch_seconds"].median,
        "ceiling": whole / outside,
        "flops": {
            "no_cache_computed": plain.model.get_cache_statistics()["flops_computed"],
            "computed": statistics["flops_computed"],
            "saved": statistics["flops_saved"],
            "saved_ratio": statistics["flops_saved_ratio"],
        },
        "memory": {
            "method": memory_method,
            "no_cache_peak_bytes": max(plain.peaks),
            "peak_bytes": max(cached.peaks),
            "cache_peak_bytes": statistics["cache_peak_bytes"],
        },
        "statistics": statistics,
        "measured": _circumstances(plain.model, workload, settings, len(plain.totals)),
    }


def _circumstances(
    model: TunedModel, workload: Workload, settings: BenchmarkSettings, num_batches: int
) -> dict[str, Any]:
    return {
        **conditions(model.device, model.dtype),
        "patch_nums": list(model.config.patch_nums),
        "painted": workload.words,
        "num_batches": num_batches,
        "batch_size": settings.batch_size,
        "warmup": settings.warmup,
        "seed": settings.seed,
        "cfg": settings.cfg,
    }
