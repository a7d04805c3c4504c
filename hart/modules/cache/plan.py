"""From configuration and pyramid to what each stage may do: compute, store, reuse, refresh or drop.

A branch is named (kind, layer) and has the index 2*layer for attention and 2*layer + 1 for the MLP. A *fused run* is
a run of neighbouring branches that every later decision takes or leaves as one. One stored sum serves all of it,
because upsampling is linear.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hart.modules.cache.branch_cache import ATTENTION, MLP
from hart.modules.cache.config import HARTCacheConfig
from hart.modules.cache.upsample import is_linear

FusedRun = tuple[int, int]
"""First and last branch index (inclusive)."""


def index_of_branch(kind: str, layer: int) -> int:
    """Index of a branch in the order in which a transformer runs them."""
    return 2 * layer + (kind == MLP)


def branch_at(branch_index: int) -> tuple[str, int]:
    """Kind and layer of the branch of an index."""
    return (MLP if branch_index % 2 else ATTENTION), branch_index // 2


@dataclass(frozen=True)
class StagePlan:
    """What a configuration allows at one stage.

    Args:
        index, side: the stage.
        drop: it is not run at all.
        reusable: indices of branches that may reuse; empty where the stage is not skipped or computes all tokens.
        ratio: part of the tokens that are computed all the same.
        source: index of the stage whose kept maps are read here; None where none are.
        store: its outputs are kept, because a later stage reads them from here.
        append_kv: attention that is reused still leaves keys and values.
    """

    index: int
    side: int
    drop: bool = False
    reusable: frozenset[int] = frozenset()
    ratio: float = 0.0
    source: int | None = None
    store: bool = False
    append_kv: bool = False

    @property
    def tokens(self) -> int:
        """Name of the stage: its token count."""
        return self.side * self.side


@dataclass(frozen=True)
class CachePlan:
    """Plans of all stages, and the fused runs that stored outputs are summed over."""

    stages: tuple[StagePlan, ...]
    fused_runs: tuple[FusedRun, ...]
    depth: int
    linear: bool = True

    def readers(self, index: int) -> list[StagePlan]:
        """Stages after this one that read what an earlier one kept."""
        return [stage for stage in self.stages[index + 1 :] if stage.source is not None]


Signature = Callable[[Sequence[StagePlan], str, int], object]
"""(skipped stages, kind, layer) -> equal values for branches that are always decided alike."""


def _each_by_itself(skipped: Sequence[StagePlan], kind: str, layer: int) -> object:
    return kind, layer


def build_plan(
    config: HARTCacheConfig,
    patch_nums: Sequence[int],
    depth: int,
    signature: Signature = _each_by_itself,
    linear: bool | None = None,
    rounds: int = 1,
) -> CachePlan:
    """Lay a configuration over a pyramid.

    Args:
        config: validated for this pyramid.
        patch_nums: sides of the stages.
        depth: layers of the transformer.
        signature: tells which branches decisions cannot split; each is decided by itself where it is not given.
        linear: whether upsampling a sum is the sum of the upsampled maps; None asks the configured mode.
        rounds: in which the last stage is decoded; of several, none has a whole map, and all are computed.
    """
    reusable = frozenset(
        branch_index for branch_index in range(2 * depth) if config.may_reuse(*branch_at(branch_index), depth)
    )
    linear = is_linear(config.interpolation_mode) if linear is None else linear
    whole = tuple(patch_nums[:-1]) if rounds > 1 else tuple(patch_nums)
    stages = tuple(_stage_plan(config, patch_nums, index, reusable, depth, whole) for index in range(len(patch_nums)))
    stages = tuple(replace(stage, store=_is_read(config, stages, stage)) for stage in stages)
    skipped = [stage for stage in stages if stage.reusable]
    apart = not linear or any(stage.ratio > 0 for stage in skipped)
    by_layer = any(stage.append_kv for stage in skipped)

    def together(branch_index: int) -> bool:
        """Whether a branch shares the fused run of the branch before it."""
        if apart or (by_layer and branch_at(branch_index)[0] == ATTENTION):
            return False
        return signature(skipped, *branch_at(branch_index - 1)) == signature(skipped, *branch_at(branch_index))

    stored = reusable if config.unselected == "reuse" else frozenset[int]()  # else the stage's input alone is kept
    return CachePlan(stages, _fused_runs(stored, depth, together), depth, linear)


def source_of(config: HARTCacheConfig, patch_nums: Sequence[int], index: int) -> int | None:
    """Index of the stage that a stage reads from: the last cache stage before it; None where there is none."""
    kept = [before for before in range(index) if patch_nums[before] ** 2 in config.cache_stages]
    return kept[-1] if kept else None


def _stage_plan(
    config: HARTCacheConfig,
    patch_nums: Sequence[int],
    index: int,
    reusable: frozenset[int],
    depth: int,
    whole: Sequence[int],
) -> StagePlan:
    side = patch_nums[index]
    ratio = config.refresh_ratio.get(side * side, 0.0)
    skips = side * side in config.skip_stages and bool(reusable) and ratio < 1 and side in whole
    return StagePlan(
        index,
        side,
        drop=side * side in config.drop_stages,
        reusable=reusable if skips else frozenset(),
        ratio=ratio,
        source=source_of(config, patch_nums, index) if skips else None,
        append_kv=config.attn_kv == "append" and _attention_after(config, patch_nums, index, depth, whole),
    )


def _is_read(config: HARTCacheConfig, stages: Sequence[StagePlan], stage: StagePlan) -> bool:
    """Whether a later stage reads this one's outputs."""
    return config.unselected == "reuse" and any(reader.source == stage.index for reader in stages)


def _attention_after(
    config: HARTCacheConfig, patch_nums: Sequence[int], index: int, depth: int, whole: Sequence[int]
) -> bool:
    """Whether a later stage computes attention, or may, and would read this one's keys and values."""
    every_attention = all(config.may_reuse(ATTENTION, layer, depth) for layer in range(depth))
    certain = every_attention and config.base_threshold(ATTENTION) == 0 and config.memory_budget_mb is None
    for side in patch_nums[index + 1 :]:
        tokens = side * side
        if tokens in config.drop_stages:
            continue
        skipped = tokens in config.skip_stages and config.refresh_ratio.get(tokens, 0.0) == 0 and side in whole
        if not (skipped and certain):
            return True
    return False


def _fused_runs(reusable: frozenset[int], depth: int, together: Callable[[int], bool]) -> tuple[FusedRun, ...]:
    """Runs of reusable branches that are always decided together."""
    fused_runs: list[FusedRun] = []
    for branch_index in range(2 * depth):
        if branch_index not in reusable:
            continue
        if fused_runs and fused_runs[-1][1] == branch_index - 1 and together(branch_index):
            fused_runs[-1] = (fused_runs[-1][0], branch_index)
        else:
            fused_runs.append((branch_index, branch_index))
    return tuple(fused_runs)
