"""The one object that blocks see when caching is on: decides, computes, reuses, refreshes and stores.

One `StageCache` lives for one generation. Shapes: R rows (2B under guidance), n tokens of a stage, C width.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from hart.modules.cache.adaptive import AdaptiveThresholds
from hart.modules.cache.branch_cache import ATTENTION, MLP, BranchCache, BranchFunction, StageStart
from hart.modules.cache.config import HARTCacheConfig
from hart.modules.cache.flops import FlopCounter
from hart.modules.cache.online_estimate import TransitionWatch, stages_to_watch
from hart.modules.cache.plan import CachePlan, FusedRun, StagePlan, branch_at, index_of_branch
from hart.modules.cache.policy import Policy, map_similarity
from hart.modules.cache.registries import EVICTIONS, SELECTORS
from hart.modules.cache.rules import Resize, SelectorInput
from hart.modules.cache.statistics import DISSIMILAR, EMPTY, CacheStatistics
from hart.modules.cache.store import Account, FeatureStore
from hart.modules.cache.token_selectors import score_tokens, select_tokens
from hart.modules.cache.upsample import upsample_tokens

INPUT = "input"
"""Key under which the input tokens of the last kept stage are stored, for selectors that look at change."""


@dataclass
class StageState:
    """What was decided for the stage in hand.

    Args:
        plan: what the configuration allows.
        start: its inputs.
        reused: indices of branches that reuse.
        chosen_Rm: indices of the tokens that are computed all the same; None for none (or all).
        chosen_stage: the stage of those tokens alone, which all branches share.
        computed_Rn: tokens that any branch computed, where each branch chooses its own.
        sums: outputs added up per fused run, while the stage is being kept.
        previous: the kept stage's input, upsampled (or None), in a list of one once it was asked for.
    """

    plan: StagePlan
    start: StageStart
    reused: frozenset[int] = frozenset()
    chosen_Rm: Tensor | None = None
    chosen_stage: Any = None
    computed_Rn: Tensor | None = None
    sums: dict[FusedRun, Tensor] = field(default_factory=dict)
    previous: list[Tensor | None] = field(default_factory=list)


class StageCache(BranchCache):
    """Reuse of branch outputs between the stages of one generation.

    Args:
        config: validated settings.
        plan: the settings laid over the model's pyramid.
        policy: decides which branches reuse at a stage.
        statistics: counts of the model; this run's are merged into them, and into what collects from them where the
            run begins, when it ends well.
        adaptive: similarities seen by earlier runs; this run's are added when it ends well.
        blocks: the transformer's blocks, for keys and values of reused attention and for counting operations.
        resize: upsamples kept maps; None takes the configured interpolation mode.
        account: of the bytes that this picture's maps and those of the pictures beside it take; None for it alone.
    """

    def __init__(
        self,
        config: HARTCacheConfig,
        plan: CachePlan,
        policy: Policy,
        statistics: CacheStatistics,
        adaptive: AdaptiveThresholds,
        blocks: Any,
        resize: "Resize | None" = None,
        account: Account | None = None,
    ):
        self.config, self.plan, self.policy, self.blocks = config, plan, policy, blocks
        self.totals, self.adaptive = [statistics, *statistics.collectors()], adaptive
        self.statistics = CacheStatistics()
        budget = None if config.memory_budget_mb is None else int(config.memory_budget_mb * 2**20)
        self.store = FeatureStore(budget, EVICTIONS.get(config.eviction), account)
        self.fused_run_of = {branch_index: run for run in plan.fused_runs for branch_index in range(run[0], run[1] + 1)}
        self.flops = FlopCounter(blocks, [stage.side for stage in plan.stages])
        self.resize: Resize | str = resize or config.interpolation_mode
        self.reads_previous = SELECTORS.get(config.token_selector).reads_previous
        self.watch = self._transitions()
        self.state: StageState | None = None

    # -- a stage -----------------------------------------------------------------------------------------------------

    def drops(self, index: int) -> bool:
        return self.plan.stages[index].drop

    def unguided(self, index: int) -> bool:
        first = self.config.unguided_from
        return first is not None and self.plan.stages[index].tokens >= first

    def keep_rows(self, rows: int) -> None:
        self.store.keep_rows(rows)

    def begin_stage(self, start: StageStart) -> Tensor | None:
        plan = self.plan.stages[start.index]
        self.flops.stage(start.index, start.x_RnC.shape)
        if start.x_RnC.shape[1] < plan.tokens:  # a round of masked decoding: no whole map to reuse or keep
            plan = StagePlan(plan.index, plan.side)
        state = self.state = StageState(plan, start)
        if not plan.reusable:
            return None
        if self.config.unselected == "nothing":
            return self._begin_leaving_out(plan, start)
        state.reused = self._decide(plan, start)
        if state.reused and plan.ratio > 0 and not self.config.select_per_branch:
            state.chosen_Rm = self._select(start.x_RnC)
        return None

    def _begin_leaving_out(self, plan: StagePlan, start: StageStart) -> Tensor | None:
        """Tokens add nothing: to the whole stage where every branch may be spared, else to the branches that may."""
        state, spared = self._state(), self._decide_by_map(plan, start)
        if not spared:
            return None
        chosen_Rm = state.chosen_Rm = self._select(start.x_RnC)
        if len(spared) < 2 * self.plan.depth:
            state.reused = spared
            return None
        if chosen_Rm.shape[1] == 0:  # no block will run
            self.end_stage()
        return chosen_Rm

    def end_stage(self) -> None:
        """Keep what a later stage reads from here, and give up what none reads any more."""
        state = self._state()
        index, side, tokens = state.plan.index, state.plan.side, state.plan.tokens
        for fused_run in list(state.sums):  # of the first stage, the last text token stands for the picture
            self.store.put(fused_run, side, state.sums.pop(fused_run)[:, -tokens:])
        readers = self.plan.readers(index)
        if any(reader.source == index and self._reads_input(reader) for reader in readers):
            self.store.put(INPUT, side, state.start.x_RnC[:, -tokens:])
        sides = {self._source_side(reader) for reader in readers}
        input_sides = {self._source_side(reader) for reader in readers if self._reads_input(reader)}
        self.store.free_where(lambda kept: kept.side not in (input_sides if kept.key == INPUT else sides))

    def _source_side(self, reader: StagePlan) -> int | None:
        return None if reader.source is None else self.plan.stages[reader.source].side

    def _reads_input(self, reader: StagePlan) -> bool:
        """Whether a stage's selector compares its input with the one kept by its source."""
        return self.reads_previous and reader.ratio > 0

    def _transitions(self) -> TransitionWatch:
        """Watches the stages before those whose decisions need an online estimate."""
        reuses = self.config.unselected == "reuse"
        asking = {plan.index for plan in self.plan.stages if reuses and self.policy.asks_online(plan)}
        return TransitionWatch(
            [plan.side for plan in self.plan.stages],
            stages_to_watch(asking),
            self.config.similarity_metric,
            lambda x_RnC, side, other: upsample_tokens(x_RnC, side, other, self.resize),
        )

    # -- a branch ----------------------------------------------------------------------------------------------------

    def add(self, branch: str, layer: int, function: BranchFunction, x_RnC: Tensor, stage: Any) -> Tensor:
        state, branch_index = self._state(), index_of_branch(branch, layer)
        if branch_index not in state.reused:
            out_RnC = function(x_RnC, stage)
            self.flops.count_branch(branch, layer, state.plan.index, x_RnC.shape[1], stage)
            self._keep(branch_index, out_RnC)
            if branch_index in self.fused_run_of:
                self.watch.computed(branch_index, state.plan.index, out_RnC, state.start.map_BcPP.shape[0])
            x_RnC = x_RnC + out_RnC
        elif state.plan.ratio > 0:
            x_RnC = self._refresh(branch_index, function, x_RnC, stage)
        else:
            x_RnC = self._reuse(branch_index, x_RnC, stage)
        if branch_index == 2 * self.plan.depth - 1:
            self.end_stage()
        return x_RnC

    def _reuse(self, branch_index: int, x_RnC: Tensor, stage: Any) -> Tensor:
        """At the end of a run of reused branches, add their stored outputs with a single upsampling, or nothing."""
        state, (branch, layer) = self._state(), branch_at(branch_index)
        if branch == ATTENTION and state.plan.append_kv:
            self.blocks[layer].append_keys_values(x_RnC, stage)
            self.flops.keys_values(state.plan.index, x_RnC.shape[1])
        if self.config.unselected == "nothing":
            return x_RnC
        if branch_index + 1 in state.reused and not self._must_add_here(branch_index):
            return x_RnC
        first = branch_index
        while first - 1 in state.reused and not self._must_add_here(first - 1):
            first -= 1
        fused_runs = dict.fromkeys(self.fused_run_of[p] for p in range(first, branch_index + 1))
        return x_RnC + self._upsampled(list(fused_runs))

    def _must_add_here(self, branch_index: int) -> bool:
        """Whether pending reused outputs must be added now.

        They must where the next attention projects keys and values from the stream, or where this run is not fused.
        """
        state = self._state()
        if branch_index != self.fused_run_of[branch_index][1]:
            return False
        by_itself = state.plan.store or not self.plan.linear
        return by_itself or (state.plan.append_kv and branch_at(branch_index + 1)[0] == ATTENTION)

    def _upsampled(self, fused_runs: list[FusedRun]) -> Tensor:
        """The stored sums of these fused runs, added up and upsampled to the stage's side."""
        state, total, side = self._state(), None, 0
        for fused_run in fused_runs:
            entry = self.store.get(fused_run, state.start.x_RnC)
            if entry is None:
                raise RuntimeError(
                    f"no stored output of branches {fused_run}; the decision should have been to compute."
                )
            total, side = entry.x_RnC if total is None else total + entry.x_RnC, entry.side
        assert total is not None
        upsampled = upsample_tokens(total, side, state.plan.side, self.resize)
        if state.plan.store:  # then every fused run is added by itself
            state.sums[fused_runs[0]] = upsampled
        return upsampled

    def _refresh(self, branch_index: int, function: BranchFunction, x_RnC: Tensor, stage: Any) -> Tensor:
        """Compute the chosen tokens; the rest is reused, or adds nothing."""
        state = self._state()
        chosen_Rm = state.chosen_Rm
        if chosen_Rm is None:  # FastVAR's way: before every branch, from its own input
            chosen_Rm = self._select(x_RnC)
            state.computed_Rn = _marked(state.computed_Rn, chosen_Rm, x_RnC)
            chosen_stage = stage.select(chosen_Rm)
        else:
            chosen_stage = state.chosen_stage = state.chosen_stage or stage.select(chosen_Rm)
        index_RmC = chosen_Rm[..., None].expand(-1, -1, x_RnC.shape[-1])
        computed_RmC = function(x_RnC.gather(1, index_RmC), chosen_stage)
        self.flops.count_branch(*branch_at(branch_index), state.plan.index, chosen_Rm.shape[1], stage)
        if self.config.unselected == "nothing":
            return x_RnC + torch.zeros_like(x_RnC).scatter(1, index_RmC, computed_RmC)
        out_RnC = self._upsampled([self.fused_run_of[branch_index]]).scatter(1, index_RmC, computed_RmC)
        state.sums.pop(self.fused_run_of[branch_index], None)  # the mixture is what is kept
        self._keep(branch_index, out_RnC)
        return x_RnC + out_RnC

    def _keep(self, branch_index: int, out_RnC: Tensor) -> None:
        state, fused_run = self._state(), self.fused_run_of.get(branch_index)
        if state.plan.store and fused_run is not None:
            before = state.sums.get(fused_run)
            state.sums[fused_run] = out_RnC if before is None else before + out_RnC

    # -- decisions ---------------------------------------------------------------------------------------------------

    def _decide(self, plan: StagePlan, start: StageStart) -> frozenset[int]:
        """Indices of branches that reuse, with hits and misses counted."""
        available = {
            branch_index
            for branch_index in plan.reusable
            if self.store.fits(self.fused_run_of[branch_index], start.x_RnC)
        }
        estimates = self.policy.estimates(plan, self.watch.estimates) if available else {}
        reused = set()
        for branch_index in sorted(plan.reusable):
            branch, layer = branch_at(branch_index)
            if branch_index not in available:
                self.statistics.miss(branch, plan.tokens, EMPTY)
                continue
            estimate = estimates.get((branch, layer))
            if estimate is not None:
                self.statistics.similarity(branch, layer, plan.tokens, estimate)
            if self.policy.accepts(plan, branch, layer, estimate):
                reused.add(branch_index)
                self.statistics.hit(branch, plan.tokens)
            else:
                self.statistics.miss(branch, plan.tokens, DISSIMILAR)
        return frozenset(reused)

    def _decide_by_map(self, plan: StagePlan, start: StageStart) -> frozenset[int]:
        """Branches that may be left out, all of a stage or none: where the latent map changed little."""
        estimate = map_similarity(start) if self.policy.asks(plan) else None
        branches = [branch_at(branch_index) for branch_index in sorted(plan.reusable)]
        accepted = all(self.policy.accepts(plan, branch, layer, estimate) for branch, layer in branches)
        for branch, layer in branches:
            if estimate is not None:
                self.statistics.similarity(branch, layer, plan.tokens, estimate)
            if accepted:
                self.statistics.hit(branch, plan.tokens)
            else:
                self.statistics.miss(branch, plan.tokens, DISSIMILAR)
        return plan.reusable if accepted else frozenset()

    def _select(self, x_RnC: Tensor) -> Tensor:
        """Indices [R, m] of the tokens to compute, judged by the input of the stage or of a branch."""
        state = self._state()
        start, rows = state.start, len(x_RnC)
        if state.plan.ratio == 0:
            return torch.empty(rows, 0, dtype=torch.long, device=x_RnC.device)
        previous_RnC = self._previous_input() if self.reads_previous else None
        if self.reads_previous and previous_RnC is None:  # nothing kept: change is distance from the mean token
            previous_RnC = start.x_RnC.mean(1, keepdim=True).expand_as(start.x_RnC)
        maps = start.map_before_BcPP, start.map_BcPP
        given = SelectorInput(state.plan.side, x_RnC, previous_RnC, *maps, start.seeds)
        scores = score_tokens(self.config.token_selector, given)
        return select_tokens(scores, state.plan.ratio, rows, self.config.select_per_row, start.map_BcPP.shape[0])

    def _previous_input(self) -> Tensor | None:
        """The input tokens of the kept stage, upsampled to this one, once per stage; None where none is kept."""
        state = self._state()
        if not state.previous:
            entry = self.store.get(INPUT, state.start.x_RnC)
            side = state.plan.side
            upsampled = None if entry is None else upsample_tokens(entry.x_RnC, entry.side, side, self.resize)
            state.previous.append(upsampled)
        return state.previous[0]

    def reused_tokens(self) -> Tensor | None:
        state = self._state()
        if self.config.reuse_codes != "soft" or not state.reused:
            return None
        reused_Rn = torch.ones(state.start.x_RnC.shape[:2], dtype=torch.bool, device=state.start.x_RnC.device)
        if state.computed_Rn is not None:
            return ~state.computed_Rn
        return reused_Rn if state.chosen_Rm is None else reused_Rn.scatter(1, state.chosen_Rm, False)

    def finish(self) -> None:
        self.statistics.flops(self.flops.by_stage(), self.flops.totals()[1])
        self.statistics.bytes_held(self.store.account.peak_bytes)
        seen = [(branch, layer, value) for (branch, layer, _), value in self.statistics.observations()]
        self.adaptive.observe(seen)
        for total in self.totals:
            total.merge(self.statistics)

    def _state(self) -> StageState:
        if self.state is None:
            raise RuntimeError("begin_stage was not called before the blocks ran.")
        return self.state


def _marked(computed_Rn: Tensor | None, chosen_Rm: Tensor, like_RnC: Tensor) -> Tensor:
    """True at the chosen tokens, too."""
    if computed_Rn is None:
        computed_Rn = torch.zeros(like_RnC.shape[:2], dtype=torch.bool, device=like_RnC.device)
    return computed_Rn.scatter(1, chosen_Rm, True)


__all__ = ["ATTENTION", "MLP", "StageCache"]
