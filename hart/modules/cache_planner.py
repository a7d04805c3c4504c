"""An older path of `hart.tuning.planner`, which defines these names."""

from hart.tuning.planner import CacheProposal, Judge

__all__ = ["CacheProposal", "Judge"]
