"""BranchKey whose results are checked by hand: each adds a constant of its own."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hart.modules.cache.adaptive import AdaptiveThresholds
from hart.modules.cache.branch_cache import ATTENTION, MLP, StageStart
from hart.modules.cache.config import HARTCacheConfig
from hart.modules.cache.plan import build_plan
from hart.modules.cache.policy import Policy
from hart.modules.cache.stage_cache import StageCache
from hart.modules.cache.statistics import CacheStatistics

SIDES = (1, 2, 4, 8)
WIDTH = 2


class ToyBlock(nn.Module):
    """Parts with weights to count, and a note of whose keys and values were left."""

    def __init__(self) -> None:
        super().__init__()
        self.attn, self.ffn = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.appended: list[int] = []

    def append_keys_values(self, x_RnC: Tensor, stage: Any) -> None:
        self.appended.append(x_RnC.shape[1])


class ToyRun:
    """A generation of toy blocks; `computed` notes (stage, kind, layer) of every branch that ran, in order.

    The branch of layer l adds 10 * stage + 2 * l for attention and one more for the MLP, so every sum tells its parts.
    """

    def __init__(
        self,
        config: HARTCacheConfig,
        sides: Sequence[int] = SIDES,
        depth: int = 2,
        table: dict[tuple[str, int, int], float] | None = None,
        rows: int = 2,
        **further: Any,
    ):
        config.validate([side * side for side in sides], depth=depth)
        self.sides, self.depth, self.rows = sides, depth, rows
        self.blocks = [ToyBlock() for _ in range(depth)]
        self.statistics, self.adaptive = CacheStatistics(), AdaptiveThresholds()
        policy = Policy(config, table, self.adaptive)
        plan = build_plan(config, sides, depth, policy.signature)
        self.cache = StageCache(config, plan, policy, self.statistics, self.adaptive, self.blocks, **further)
        self.computed: list[tuple[int, str, int]] = []

    def stage(self, index: int, x_RnC: Tensor | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
        """Run a stage on these tokens (default ones) and return the residual stream."""
        tokens = self.sides[index] ** 2
        if x_RnC is None:
            x_RnC = torch.ones(self.rows, tokens, WIDTH, dtype=dtype)
        map_BcPP = torch.zeros(self.rows // 2, 1, self.sides[-1], self.sides[-1])
        chosen_Rm = self.cache.begin_stage(StageStart(index, x_RnC, map_BcPP, map_BcPP))
        if chosen_Rm is not None:
            if chosen_Rm.shape[1] == 0:
                return x_RnC[:, :0]
            x_RnC = x_RnC.gather(1, chosen_Rm[..., None].expand(-1, -1, WIDTH))
        for layer in range(self.depth):
            for kind in (ATTENTION, MLP):
                x_RnC = self.cache.add(kind, layer, self._branch(index, kind, layer), x_RnC, self)
        return x_RnC

    def run(self) -> list[Tensor]:
        """All stages."""
        return [self.stage(index) for index in range(len(self.sides))]

    def select(self, chosen_Rm: Tensor) -> "ToyRun":
        """Stands for the stage that branches are given."""
        return self

    def _branch(self, index: int, kind: str, layer: int) -> Any:
        def branch(x_RnC: Tensor, stage: Any) -> Tensor:
            self.computed.append((index, kind, layer))
            return torch.full_like(x_RnC, 10 * index + 2 * layer + (kind == MLP))

        return branch
