"""The planner: `EnhancedHARTForT2I.plan_cache`, read from `planner.py` on."""

from hart.modules.cache.proposal import CacheProposal, PlanCost, Trial, Verification
from hart.modules.cache_planner.journal import has_steps
from hart.modules.cache_planner.planner import COUNTS, PlanSettings, fitting_presets, plan
from hart.modules.cache_planner.verify import Judge

__all__ = [
    "COUNTS",
    "CacheProposal",
    "Judge",
    "PlanCost",
    "PlanSettings",
    "Trial",
    "Verification",
    "fitting_presets",
    "has_steps",
    "plan",
]
