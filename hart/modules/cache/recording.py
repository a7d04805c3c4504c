"""The cache that reuses nothing and notes how alike outputs are to what a run would reuse in their place.

Shapes: R rows (2B under guidance), n tokens of a stage, C width.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from hart.modules.cache.branch_cache import Branch, BranchCache, NoCache, StageStart
from hart.modules.cache.config import HARTCacheConfig
from hart.modules.cache.rules import Resize, TableKey
from hart.modules.cache.similarity import similarity
from hart.modules.cache.similarity_table import Calibration
from hart.modules.cache.stage_cache import StageCache
from hart.modules.cache.upsample import upsample_tokens


class RecordingCache(BranchCache):
    """Computes every branch and compares its output with the upsampled one of an earlier stage.

    Args:
        patch_nums: sides of the stages.
        calibration: where the similarities go when the picture is done, and how to compare.
        resize: grows maps.
        estimating: a cache that never reuses; it says what the online estimate is. None where no stage has one.
        done: called when all pictures of the call are done.
    """

    def __init__(
        self,
        patch_nums: Sequence[int],
        calibration: Calibration,
        resize: "Resize | str" = "bilinear",
        estimating: StageCache | None = None,
        done: Callable[[], None] = lambda: None,
    ):
        self.patch_nums, self.calibration, self.resize = tuple(patch_nums), calibration, resize
        self.estimating, self.done = estimating, done
        self.computing: BranchCache = estimating or NoCache()
        self.kept: dict[tuple[str, int, int], Tensor] = {}
        self.seen: list[tuple[TableKey, Tensor]] = []
        self.side = self.pictures = 0

    def begin_stage(self, start: StageStart) -> Tensor | None:
        self.side, self.pictures = self.patch_nums[start.index], len(start.map_BcPP)
        return self.computing.begin_stage(start)

    def add(self, kind: str, layer: int, branch: Branch, x_RnC: Tensor, stage: Any) -> Tensor:
        def watched(x_RnC: Tensor, stage: Any) -> Tensor:
            out_RnC = branch(x_RnC, stage)
            self._compare(kind, layer, out_RnC[:, -self.side * self.side :])
            return out_RnC

        return self.computing.add(kind, layer, watched, x_RnC, stage)

    def _compare(self, kind: str, layer: int, map_RnC: Tensor) -> None:
        tokens, sources = self.side * self.side, self.calibration.compared.sources
        if map_RnC.shape[1] < tokens:  # a round of masked decoding has no whole map
            return
        source = sources.get(tokens, 0)
        kept = self.kept.get((kind, layer, source))
        if kept is not None:
            reused = upsample_tokens(kept, round(source**0.5), self.side, self.resize)
            alike_R = similarity(reused, map_RnC, self.calibration.compared.metric or "cosine")
            self.seen.append(((kind, layer, tokens), alike_R.view(-1, self.pictures).mean(0)))
        if tokens in sources.values():
            self.kept[kind, layer, tokens] = map_RnC
        if source and not any(later > tokens and source == other for later, other in sources.items()):
            self.kept.pop((kind, layer, source), None)

    def finish(self) -> None:
        estimated = [] if self.estimating is None else self.estimating.statistics.observations()
        self.calibration.observe(self.seen, estimated)

    def finish_call(self) -> None:
        self.done()


def estimating_config(config: HARTCacheConfig) -> HARTCacheConfig:
    """The same skips with thresholds that nothing reaches: every estimate is made, and everything computed."""
    return replace(
        config,
        threshold=1.0,
        attn_threshold=None,
        mlp_threshold=None,
        adaptive_threshold=False,
        refresh_ratio={},
        estimator="online",
        reuse_codes="sampled",
        drop_stages=[],
        unguided_from=None,
        memory_budget_mb=None,
    )
