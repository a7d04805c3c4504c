"""The cache of a model that computes everything, and counts what that takes."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from hart.modules.cache.branch_cache import Branch, BranchCache, StageStart
from hart.modules.cache.flops import FlopCounter
from hart.modules.cache.statistics import CacheStatistics


class CountingCache(BranchCache):
    """Runs every stage, computes every branch and counts operations.

    Args:
        patch_nums: sides of the stages.
        blocks: the transformer's blocks.
        statistics: counts of the model; this run's are merged into them, and into what collects from them where the
            run begins, when it ends well.
    """

    def __init__(self, patch_nums: Sequence[int], blocks: Any, statistics: CacheStatistics):
        self.flops, self.index = FlopCounter(blocks, patch_nums), 0
        self.totals = [statistics, *statistics.collectors()]

    def begin_stage(self, start: StageStart) -> Tensor | None:
        self.index = start.index
        self.flops.stage(start.index, start.x_RnC.shape)
        return None

    def add(self, kind: str, layer: int, branch: Branch, x_RnC: Tensor, stage: Any) -> Tensor:
        out_RnC = branch(x_RnC, stage)
        self.flops.branch(kind, layer, self.index, x_RnC.shape[1], stage)
        return x_RnC + out_RnC

    def finish(self) -> None:
        run = CacheStatistics()
        run.flops(self.flops.by_stage(), self.flops.totals()[1])
        for total in self.totals:
            total.merge(run)
