"""When to reuse: estimates of the similarity, and the threshold that they must reach.

An estimate must cost far less than what it may save, so the true similarity is never computed here: a table answers, or
what the run saw at the stages before (`online_estimate.py`). One decision, and one read from the device, per stage.
"""

from collections.abc import Callable, Mapping, Sequence

from torch.nn import functional as F

from hart.modules.cache.adaptive import AdaptiveThresholds
from hart.modules.cache.branch_cache import StageStart
from hart.modules.cache.config import HARTCacheConfig
from hart.modules.cache.plan import StagePlan, branch_at
from hart.modules.cache.thresholds import scheduled_threshold

Table = Mapping[tuple[str, int, int], float]
"""Measured similarity by branch kind, layer and stage (as a token count)."""

BranchKey = tuple[str, int]


class Policy:
    """Decides for one generation.

    Args:
        config: thresholds, schedule, metric and estimator.
        table: calibrated similarities; None or empty where there are none.
        adaptive: thresholds as earlier runs left them; not changed here.
    """

    def __init__(self, config: HARTCacheConfig, table: Table | None, adaptive: AdaptiveThresholds):
        self.config, self.table, self.adaptive = config, table or {}, adaptive

    @property
    def uses_table(self) -> bool:
        """Whether estimates come from the table."""
        return bool(self.table) and self.config.estimator != "online"

    def signature(self, skipped: Sequence[StagePlan], kind: str, layer: int) -> object:
        """What decides about a branch at these stages; branches whose signatures are equal are decided alike."""
        if self.uses_table:
            table = self.table
            return [self.accepts(stage, kind, layer, table.get((kind, layer, stage.tokens))) for stage in skipped]
        thresholds = [self.threshold(stage, kind, layer) for stage in skipped]
        return (thresholds, kind, layer) if any(value > 0 for value in thresholds) else thresholds

    def asks(self, plan: StagePlan) -> bool:
        """Whether a threshold of a stage asks for an estimate."""
        return any(self.threshold(plan, *branch_at(branch_index)) > 0 for branch_index in plan.reusable)

    def asks_online(self, plan: StagePlan) -> bool:
        """Whether the run itself must estimate, from what it computed before the stage."""
        return not self.uses_table and self.asks(plan)

    def estimates(self, plan: StagePlan, online: Callable[[], Mapping[int, float]]) -> dict[BranchKey, float]:
        """Estimated similarity of every reusable branch at a stage; empty where no threshold asks for one.

        Args:
            plan: the stage.
            online: gives what the run saw, by branch index; called only where no table answers.
        """
        if not self.asks(plan):
            return {}
        branches = {branch_index: branch_at(branch_index) for branch_index in sorted(plan.reusable)}
        if self.uses_table:
            known = {branch: self.table.get((*branch, plan.tokens)) for branch in branches.values()}
            return {branch: value for branch, value in known.items() if value is not None}
        seen = online()
        return {branch: seen[branch_index] for branch_index, branch in branches.items() if branch_index in seen}

    def threshold(self, plan: StagePlan, kind: str, layer: int) -> float:
        """The threshold in force: configured, by schedule, adapted."""
        base = self.config.base_threshold(kind)
        base = scheduled_threshold(self.config.threshold_schedule, plan.tokens, layer, kind, base)
        return self.adaptive.threshold(kind, layer, base) if self.config.adaptive_threshold else base

    def accepts(self, plan: StagePlan, kind: str, layer: int, estimate: float | None) -> bool:
        """Whether a branch may reuse; without an estimate only where the threshold is 0."""
        threshold = self.threshold(plan, kind, layer)
        return threshold <= 0 or (estimate is not None and estimate >= threshold)


def map_similarity(start: StageStart) -> float:
    """Cosine of the accumulated map before and after the last stage, mean over tokens, least over the batch (LazyVAR).

    It says how much the picture still changes: the estimate where tokens that are left out add nothing.
    """
    cosine_BPP = F.cosine_similarity(start.map_before_BcPP.float(), start.map_BcPP.float(), dim=1)
    return float(cosine_BPP.flatten(1).mean(1).min())
