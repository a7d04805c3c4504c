"""One setting that paints: its own wrapper around shared weights, and what a batch under it took and did."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from hart.benchmark.settings.choose import NamedSetting
from hart.modules.cache.flops import FlopCounter
from hart.modules.enhanced_hart import EnhancedHARTForT2I
from hart.modules.models.transformer.generation import paints_one_by_one
from hart.pipeline import HARTPipeline
from hart.tuning.painter import timed_parts

GRAPHS_PER_LAYER = 8
"""Graphs that a layer's branch may have: first stage, later ones, part of the tokens, one row or more."""


class BatchRecord(BaseModel):
    """A finished batch of one setting: a line of `batches.jsonl`.

    Args:
        setting, index: which.
        pictures: how many.
        generations: passes of the transformer over all stages; on a CPU one per picture, on a GPU one per batch.
        seconds: text, stages and decoder together.
        parts: seconds of text, decoder, transformer and diffusion_head (the last two are inside the stages).
        stages: seconds per stage.
        hits: by branch and stage (as text), how many layers reused, over all generations.
        hit_count, decisions: over all branches and stages.
        flops_computed, flops_saved: of the transformer's branches.
        stage_flops: computed by stage.
        cache_peak_bytes: most that the cache held for one generation.
        files: the pictures, relative to the output folder.
        session: one of the calls that a run took; times of two may be of a machine in two states.
    """

    model_config = ConfigDict(extra="forbid")
    setting: str
    index: int
    pictures: int
    generations: int
    seconds: float
    parts: dict[str, float]
    stages: list[float]
    hits: dict[str, dict[str, int]]
    hit_count: int
    decisions: int
    flops_computed: int
    flops_saved: int
    stage_flops: list[int]
    cache_peak_bytes: int
    files: list[str] = []
    session: str = ""


@dataclass
class Batch:
    """What is painted at once: batch `index` of a run, a seed per prompt."""

    index: int
    prompts: list[str]
    seeds: list[int]


@dataclass
class Painter:
    """Paints batches under one setting.

    Args:
        setting: which.
        pipeline: with a wrapper of the model that nobody else uses.
        guidance_scale: see `HARTPipeline`.
    """

    setting: NamedSetting
    pipeline: HARTPipeline
    guidance_scale: float
    model: EnhancedHARTForT2I = field(init=False)

    def __post_init__(self) -> None:
        self.model = EnhancedHARTForT2I.from_hart(self.pipeline.model, self.setting.config)
        self.pipeline = self.pipeline.with_model(self.model)

    def paint(self, batch: Batch) -> tuple[BatchRecord, Tensor]:
        """Paint a batch: what it took, and its pictures [B, 3, H, W] in 0 to 1 on the CPU."""
        with self.model.caching.separate_statistics() as statistics, timed_parts(self.model) as parts_inside:
            output = self.pipeline(
                batch.prompts,
                guidance_scale=self.guidance_scale,
                seed=batch.seeds,
                output_type="pt",
                batch_size=len(batch.prompts),
                on_long="truncate",  # as published; a run of thousands should not stop at one long prompt
            )
        timings = output.timings
        parts = {"text": timings["text"], "decoder": timings["decoder"]}
        parts |= parts_inside()
        record = BatchRecord(
            setting=self.setting.name,
            index=batch.index,
            pictures=len(batch.prompts),
            generations=len(batch.prompts) if paints_one_by_one(self.model.device) else 1,
            seconds=timings["text"] + sum(timings["stages"]) + timings["decoder"],
            parts=parts,
            stages=timings["stages"],
            **self._counts(statistics()),
        )
        return record, output.images.cpu()

    def _counts(self, statistics: dict[str, Any]) -> dict[str, Any]:
        done = statistics["flops_per_stage"]
        return {
            "hits": statistics["hits_per_branch_and_stage"],
            "hit_count": statistics["hits"],
            "decisions": statistics["hits"] + sum(statistics["misses"].values()),
            "flops_computed": statistics["flops_computed"],
            "flops_saved": statistics["flops_saved"],
            "stage_flops": [done.get(str(side * side), 0) for side in self.model.config.patch_nums],
            "cache_peak_bytes": statistics["cache_peak_bytes"],
        }

    def forget(self) -> None:
        """Warm-up is over: no statistics, thresholds as configured."""
        self.model.reset_cache_statistics()


def full_flops(model: EnhancedHARTForT2I, pictures: int) -> list[int]:
    """Operations of the transformer's branches where everything is computed, by stage, for pictures under guidance."""
    config, up_to = model.config, [0]
    for count in range(1, len(config.patch_nums) + 1):
        counter = FlopCounter(model.blocks, config.patch_nums[:count])
        counter.stage(0, (2 * pictures, config.context_token, config.embed_dim))
        up_to.append(counter.totals()[1])
    return [after - before for before, after in pairwise(up_to)]


def compile_branches(model: EnhancedHARTForT2I, **options: Any) -> None:
    """Compile every block's two branches in place; the cache's decisions stay plain Python between them.

    Layers share code but not graphs, and beyond a limit torch would go on uncompiled without a word; so the limit is
    raised to what the model needs.

    Args:
        model: its blocks are changed.
        options: further arguments of `torch.compile`.
    """
    limits = torch._dynamo.config
    limits.cache_size_limit = max(limits.cache_size_limit, GRAPHS_PER_LAYER * len(model.blocks))
    for block in model.blocks:
        for name in ("attention_branch", "mlp_branch"):
            setattr(block, name, torch.compile(getattr(block, name), dynamic=True, **options))
