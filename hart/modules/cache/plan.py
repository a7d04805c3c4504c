"""From configuration and pyramid to what each stage may do: compute, store, reuse, refresh or drop.

A branch is named (kind, layer) and has a place 2*layer for attention and 2*layer + 1 for the MLP. A *piece* is a run
of neighbouring places that every later decision takes or leaves as one, so that one stored sum serves all of it:
upsampling is linear.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hart.modules.cache.no_cache import ATTENTION, MLP
from hart.modules.cache.upsample import is_linear
from hart.modules.cache_config import HARTCacheConfig

Piece = tuple[int, int]
"""First and last place (inclusive)."""


def place_of(kind: str, layer: int) -> int:
    """Place of a branch in the order in which a transformer runs them."""
    return 2 * layer + (kind == MLP)


def branch_at(place: int) -> tuple[str, int]:
    """Kind and layer of the branch at a place."""
    return (MLP if place % 2 else ATTENTION), place // 2


@dataclass(frozen=True)
class StagePlan:
    """What a configuration allows at one stage.

    Args:
        index, side: the stage.
        drop: it is not run at all.
        reusable: places that may reuse; empty where the stage is not skipped.
        ratio: part of the tokens that are computed all the same.
        store: its outputs are kept, because a later stage may read them.
        append_kv: attention that is reused still leaves keys and values.
    """

    index: int
    side: int
    drop: bool = False
    reusable: frozenset[int] = frozenset()
    ratio: float = 0.0
    store: bool = False
    append_kv: bool = False

    @property
    def tokens(self) -> int:
        """Name of the stage: its token count."""
        return self.side * self.side


@dataclass(frozen=True)
class CachePlan:
    """Plans of all stages, and the pieces that stored outputs are summed over."""

    stages: tuple[StagePlan, ...]
    pieces: tuple[Piece, ...]
    depth: int

    def readers_left(self, index: int) -> bool:
        """Whether a stage after this one may read what is stored."""
        return any(stage.reusable for stage in self.stages[index + 1 :])


def build_plan(config: HARTCacheConfig, patch_nums: Sequence[int], depth: int, split_kinds: bool = True) -> CachePlan:
    """Lay a configuration over a pyramid.

    Args:
        config: validated for this pyramid.
        patch_nums: sides of the stages.
        depth: layers of the transformer.
        split_kinds: decisions may take attention and leave the MLP, or the other way round, or single layers.
    """
    reusable = frozenset(place for place in range(2 * depth) if config.may_reuse(*branch_at(place), depth))
    skipped = [side for side in patch_nums if side * side in config.skip_stages and reusable]
    stages = []
    for index, side in enumerate(patch_nums):
        later = [other for other in skipped if other > side]
        stages.append(
            StagePlan(
                index,
                side,
                drop=side * side in config.drop_stages,
                reusable=reusable if side in skipped else frozenset(),
                ratio=config.refresh_ratio.get(side * side, 0.0),
                store=side * side in config.cache_stages and bool(later),
                append_kv=config.attn_kv == "append" and _attention_after(config, patch_nums, index, depth),
            )
        )
    refreshed = any(0 < stage.ratio < 1 and stage.reusable for stage in stages)
    appended = any(stage.append_kv and stage.reusable for stage in stages)
    whole = is_linear(config.interpolation_mode) and not (split_kinds or refreshed or appended)
    stored = reusable if config.unselected == "reuse" else frozenset[int]()  # else the stage's input alone is kept
    return CachePlan(tuple(stages), _pieces(stored, depth, whole), depth)


def _attention_after(config: HARTCacheConfig, patch_nums: Sequence[int], index: int, depth: int) -> bool:
    """Whether a later stage computes attention and would read this one's keys and values."""
    every_attention = all(config.may_reuse(ATTENTION, layer, depth) for layer in range(depth))
    for side in patch_nums[index + 1 :]:
        tokens = side * side
        if tokens in config.drop_stages:
            continue
        always = config.base_threshold(ATTENTION) == 0 and config.refresh_ratio.get(tokens, 0.0) == 0
        if not (tokens in config.skip_stages and every_attention and always):
            return True
    return False


def _pieces(reusable: frozenset[int], depth: int, whole: bool) -> tuple[Piece, ...]:
    """Runs of reusable places; single places unless whole runs are always decided together."""
    pieces: list[Piece] = []
    for place in range(2 * depth):
        if place not in reusable:
            continue
        if whole and pieces and pieces[-1][1] == place - 1:
            pieces[-1] = (pieces[-1][0], place)
        else:
            pieces.append((place, place))
    return tuple(pieces)
