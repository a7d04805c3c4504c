"""The same prompts and seeds under several cache settings, side by side, on one loaded model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from torch import Tensor
from tqdm.auto import tqdm

from hart.modules.cache.config import HARTCacheConfig
from hart.modules.enhanced_hart import EnhancedHARTForT2I
from hart.pipeline import HARTPipeline
from hart.utils.images import grid, to_pil
from hart.utils.psnr import in_decibels, psnr
from hart.utils.seeds import picture_seeds

if TYPE_CHECKING:
    from PIL.Image import Image

BASELINE = "no-cache"


@dataclass
class Row:
    """One setting of a comparison.

    Args:
        name: the preset.
        run_tag: its settings in short.
        images: its pictures [N, 3, H, W] in 0 to 1.
        psnr: of every picture against no-cache, in dB; infinite where they are equal.
        seconds: whole time of each repetition (text, stages and decoder of all pictures).
        statistics: of the cache, in the last repetition.
    """

    name: str
    run_tag: str
    images: Tensor | None = None
    psnr: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    statistics: dict[str, Any] = field(default_factory=dict)

    @property
    def median_seconds(self) -> float:
        return median(self.seconds)


@dataclass
class Comparison:
    """All settings over the same prompts and seeds; the first row is no-cache."""

    prompts: list[str]
    seeds: list[int]
    rows: list[Row]

    def speed_up(self, row: Row) -> float:
        """Median time without cache over this row's."""
        return self.rows[0].median_seconds / row.median_seconds

    def sheet(self, scale: float = 1.0) -> "Image":
        """One picture: a row per setting, a column per prompt, captions with the figures."""
        images, captions = [], []
        for row in self.rows:
            hit_rate = row.statistics.get("cache_hit_rate", 0.0)
            figures = f"{row.median_seconds:.2f} s, {self.speed_up(row):.2f}x, hits {hit_rate:.0%}"
            assert row.images is not None
            images += to_pil(row.images)
            captions += [
                f"{row.name}: {prompt}. {figures}, PSNR {in_decibels(psnr)}"
                for prompt, psnr in zip(self.prompts, row.psnr, strict=True)
            ]
        return grid(images, captions, columns=len(self.prompts), scale=scale)

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain values; a PSNR that is infinite becomes null."""
        return {
            "prompts": self.prompts,
            "seeds": self.seeds,
            "rows": [
                {
                    "preset": row.name,
                    "run_tag": row.run_tag,
                    "median_seconds": row.median_seconds,
                    "seconds": row.seconds,
                    "speed_up": self.speed_up(row),
                    "cache_hit_rate": row.statistics.get("cache_hit_rate", 0.0),
                    "psnr": [psnr if math.isfinite(psnr) else None for psnr in row.psnr],
                    "cache_peak_bytes": row.statistics.get("cache_peak_bytes", 0),
                    "flops_saved_ratio": row.statistics.get("flops_saved_ratio", 0.0),
                }
                for row in self.rows
            ],
        }


def compare_presets(
    pipeline: HARTPipeline,
    prompts: Sequence[str],
    presets: Sequence[str] = (),
    seed: int = 0,
    guidance_scale: float | None = None,
    batch_size: int | None = None,
    repeats: int = 3,
    progress: bool = True,
) -> Comparison:
    """Paint the same pictures under each preset; the pipeline's own setting stays as it is.

    Presets take turns, so that whatever else the machine does meets all of them; one round before is not counted.

    Args:
        pipeline: a loaded model; it is not changed.
        prompts: one picture each.
        presets: names; none for all. `no-cache` is always painted first.
        seed: picture i is painted with seed + i.
        guidance_scale, batch_size: see `HARTPipeline`.
        repeats: timed repetitions of each preset.
        progress: show a bar.

    Raises:
        ValueError: an unknown preset, one that does not fit the model's pyramid, or a prompt that is refused.
    """
    prompts = pipeline.checked_prompts(prompts)
    names = list(
        dict.fromkeys([BASELINE, *(presets or HARTCacheConfig.fitting_presets(pipeline.model.config.patch_nums))])
    )
    configs = [HARTCacheConfig.from_preset(name, patch_nums=pipeline.model.config.patch_nums) for name in names]
    models = [EnhancedHARTForT2I.from_hart(pipeline.model, config) for config in configs]
    painters = [pipeline.with_model(model) for model in models]
    rows = [Row(name, config.run_tag()) for name, config in zip(names, configs, strict=True)]
    seeds = picture_seeds(len(prompts), seed)
    with tqdm(total=(repeats + 1) * len(rows), desc="comparing", unit="run", disable=not progress) as bar:
        for repeat in range(repeats + 1):
            for row, painter in zip(rows, painters, strict=True):
                output = painter(prompts, 1, guidance_scale, seed=seeds, output_type="pt", batch_size=batch_size)
                if repeat:
                    row.seconds.append(output.timings["total"])
                row.images, row.statistics = output.images.cpu(), output.cache_statistics or {}
                bar.update()
    for row in rows:
        row.psnr = psnr(row.images, rows[0].images)
    return Comparison(prompts, seeds, rows)


__all__ = ["Comparison", "Row", "compare_presets", "psnr"]
