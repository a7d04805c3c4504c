"""The planner: `EnhancedHARTForT2I.plan_cache`, read from `planner.py` on."""

from hart.tuning.planner.journal import has_steps
from hart.tuning.planner.planner import COUNTS, PlanSettings, plan
from hart.tuning.planner.proposal import CacheProposal, PlanCost, Trial, Verification
from hart.tuning.planner.verify import Judge

__all__ = [
    "COUNTS",
    "CacheProposal",
    "Judge",
    "PlanCost",
    "PlanSettings",
    "Trial",
    "Verification",
    "has_steps",
    "plan",
]
