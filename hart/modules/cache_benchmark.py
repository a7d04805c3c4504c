"""What a cache setting costs and saves, measured: `EnhancedHARTForT2I.benchmark_performance`.

Both sides paint the same pictures in turn, so that whatever else the machine does meets both. Times are seconds per
batch unless they say otherwise; the device's queue is drained at every reading.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from tqdm.auto import tqdm

from hart.modules.cache.statistics import percentile
from hart.modules.cache_prompts import Subjects
from hart.modules.cache_report import BenchmarkReport
from hart.utils.files import check_target
from hart.utils.memory import PeakMemory
from hart.utils.timing import Stopwatch

if TYPE_CHECKING:
    from hart.modules.enhanced_hart import EnhancedHARTForT2I


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

    model: "EnhancedHARTForT2I"
    totals: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=dict)
    stages: list[list[float]] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)

    def paint(self, subjects: Subjects, settings: BenchmarkSettings, start: int, memory: PeakMemory) -> None:
        """Paint one batch and note its times and its peak of memory."""
        model, watch = self.model, Stopwatch(self.model.device)
        stages: list[float] = []
        seeds = [settings.seed + start + row for row in range(settings.batch_size)]
        memory.restart()
        with timed(model.diffloss, "sample", model.device) as head, timed(model, "run_blocks", model.device) as blocks:
            watch.restart()
            arguments = subjects.arguments(start, settings.batch_size)
            text = watch.lap()
            f_hat = model.autoregressive_infer_cfg(
                settings.batch_size,
                g_seed=seeds,
                cfg=settings.cfg,
                decode=False,
                callback_on_stage_end=lambda *_: stages.append(watch.lap()),
                **arguments,
            )
            model.latent_to_img(f_hat)
            decoder = watch.lap()
        self.totals.append(text + sum(stages) + decoder)
        self.stages.append(stages)
        taken = {"text": text, "decoder": decoder, "diffusion_head": sum(head), "transformer": sum(blocks)}
        for name, seconds in taken.items():
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
            "batch_seconds": spread(self.totals),
            "parts": {name: spread(seconds) for name, seconds in self.parts.items()},
            "stages": {str(side * side): spread(list(seconds)) for side, seconds in by_stage},
        }


def benchmark(
    plain: "EnhancedHARTForT2I",
    cached: "EnhancedHARTForT2I",
    subjects: Subjects,
    settings: BenchmarkSettings,
    json_path: str | os.PathLike[str] | None,
) -> dict[str, Any]:
    """Paint with both in turn and report.

    Args:
        plain: a wrapper whose cache is off.
        cached: a wrapper with the settings in question.
        subjects: what is painted.
        settings: how.
        json_path: where the report goes; None for nowhere.
    """
    if json_path is not None:
        check_target(json_path, "json_path")
    sides, memory = (Side(plain), Side(cached)), PeakMemory(plain.device)
    num_batches = -(-settings.num_samples // settings.batch_size)
    rounds = settings.warmup + num_batches
    with tqdm(total=2 * rounds, desc="benchmark", unit="batch", disable=not settings.progress) as bar:
        for index in range(rounds):
            for side in sides if index % 2 == 0 else reversed(sides):
                side.paint(subjects, settings, max(0, index - settings.warmup) * settings.batch_size, memory)
                bar.update()
            if index + 1 == settings.warmup:
                for side in sides:
                    side.forget()
    report = BenchmarkReport.model_validate(_figures(*sides, subjects, settings, memory.method))
    if json_path is not None:
        report.to_json(json_path)
    return report.model_dump()


def _figures(
    plain: Side, cached: Side, subjects: Subjects, settings: BenchmarkSettings, memory_method: str
) -> dict[str, Any]:
    statistics = cached.model.get_cache_statistics()
    before, after = (side.report(settings.batch_size) for side in (plain, cached))
    whole = before["batch_seconds"]["median"]
    outside = max(whole - before["parts"]["transformer"]["median"], 1e-9)
    config = cached.model.cache_config
    return {
        "run_tag": config.run_tag() if config is not None else "hart-nocache",
        "config": config.to_dict() if config is not None else None,
        "benchmark": after,
        "no_cache": before,
        "speed_up": whole / after["batch_seconds"]["median"],
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
        "measured": _circumstances(plain.model, subjects, settings, len(plain.totals)),
    }


def _circumstances(
    model: "EnhancedHARTForT2I", subjects: Subjects, settings: BenchmarkSettings, num_batches: int
) -> dict[str, Any]:
    return {
        "device": str(model.device),
        "dtype": str(model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "patch_nums": list(model.config.patch_nums),
        "painted": subjects.words,
        "num_batches": num_batches,
        "batch_size": settings.batch_size,
        "warmup": settings.warmup,
        "seed": settings.seed,
        "cfg": settings.cfg,
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median and quartiles, by linear interpolation."""
    ordered = sorted(values)
    return {
        "median": percentile(ordered, 50),
        "q1": percentile(ordered, 25),
        "q3": percentile(ordered, 75),
    }


@contextmanager
def timed(owner: Any, name: str, device: torch.device) -> Iterator[list[float]]:
    """Seconds of every call of a method while the context lasts; the method is the old one afterwards."""
    method: Callable[..., Any] = getattr(owner, name)
    seconds: list[float] = []

    def call(*args: Any, **kwargs: Any) -> Any:
        watch = Stopwatch(device)
        result = method(*args, **kwargs)
        seconds.append(watch.lap())
        return result

    before = owner.__dict__.get(name)
    owner.__dict__[name] = call
    try:
        yield seconds
    finally:
        if before is None:
            owner.__dict__.pop(name, None)
        else:
            owner.__dict__[name] = before
