"""What became of the tokens of every stage: run by all branches, by some, or by none.

Shapes: R rows, n tokens of a stage, m of them chosen, p side of the stage's token map.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hart.modules.cache.stage_cache import StageCache
from hart.modules.cache_config import HARTCacheConfig
from hart.modules.enhanced_hart import EnhancedHARTForT2I
from hart.pipeline import HARTPipeline


@dataclass(frozen=True)
class TokenMap:
    """What became of the tokens of one stage of one picture.

    Args:
        index: 0-based stage.
        computed_pp: for every token the part of the transformer's branches that were computed there, 0 to 1,
            float32 [p, p] on the CPU.
        reuses: whether the other branches added the kept output of an earlier stage; False: they added nothing.
    """

    index: int
    computed_pp: Tensor
    reuses: bool

    @property
    def side(self) -> int:
        """Side of the token map."""
        return len(self.computed_pp)

    @property
    def computed(self) -> float:
        """Part of the stage's work on tokens that was done, 0 to 1."""
        return float(self.computed_pp.mean())


class WatchedHART(EnhancedHARTForT2I):
    """HART that notes what became of the tokens of the picture that it paints; one call at a time.

    Where a call paints several pictures, the first is noted. Last stages in several rounds are computed whole.

    Example:
        >>> watched = watched_pipeline(pipe, "original-cache")
        >>> watched("a 3d fox on a blue background", callback_on_stage_end=watched.model.note_tokens)
        >>> [token_map.computed for token_map in watched.model.token_maps]
    """

    token_maps: tuple[TokenMap, ...] = ()
    _watched: Any = None

    def new_cache(self, rounds: int = 1, beside: Any = None) -> Any:
        """The cache of one generation; a call's first is watched."""
        cache = super().new_cache(rounds, beside)
        if beside is None:
            self.token_maps, self._watched = (), cache
        return cache

    def note_tokens(self, stage_index: int, info: Any) -> None:
        """Stage callback: add the stage's map to `token_maps`."""
        self.token_maps = (*self.token_maps, _token_map(self._watched, stage_index, info.side))


def watched_pipeline(pipeline: HARTPipeline, config: HARTCacheConfig | str | None) -> HARTPipeline:
    """Return a pipeline with these settings whose model is a `WatchedHART` around the same weights.

    Raises:
        ValueError: the settings do not fit the model.
    """
    return pipeline.with_model(WatchedHART.from_hart(pipeline.model, config))


def _token_map(cache: Any, index: int, side: int) -> TokenMap:
    """The map of the stage that a cache has in hand, or of one that was not run."""
    if cache.drops(index):
        return TokenMap(index, torch.zeros(side, side), reuses=False)
    if not isinstance(cache, StageCache) or cache.state is None:
        return TokenMap(index, torch.ones(side, side), reuses=True)
    state, branches = cache.state, 2 * cache.plan.depth
    run_n = torch.zeros(side * side)
    if state.computed_Rn is not None:
        run_n = state.computed_Rn[0].cpu().float()
    elif state.chosen_Rm is not None:
        run_n[state.chosen_Rm[0].cpu()] = 1.0
    elif not state.reused:
        run_n += 1.0
    # Without reused branches, a choice of tokens is one for the whole stage.
    chosen_branches = len(state.reused) if state.reused else branches
    computed_n = (branches - chosen_branches + chosen_branches * run_n) / branches
    reuses = cache.config.unselected == "reuse"
    return TokenMap(index, computed_n.unflatten(0, (side, side)), reuses)


__all__ = ["TokenMap", "WatchedHART", "watched_pipeline"]
