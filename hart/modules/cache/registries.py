"""The five registries of the cache, by the configuration field that names their entries; imports no torch."""

from hart.modules.cache.registry import Registry
from hart.modules.cache.rules import Eviction, Interpolation, Metric, ThresholdSchedule, TokenSelector

INTERPOLATIONS: Registry[Interpolation] = Registry("interpolation mode", ["area", "bicubic", "bilinear", "nearest"])
METRICS: Registry[Metric] = Registry("similarity metric", ["centred_cosine", "cosine", "relative_l2"])
SCHEDULES: Registry[ThresholdSchedule] = Registry("threshold schedule", ["constant", "mlp_stricter", "rising"])
SELECTORS: Registry[TokenSelector] = Registry(
    "token selector", ["centred_change", "change", "edge", "fastvar", "fhat_cosine", "random"]
)
EVICTIONS: Registry[Eviction] = Registry("eviction rule", ["coarsest", "largest", "oldest", "unused"])


def known_names() -> dict[str, list[str]]:
    """Names that a configuration may use, by field."""
    return {
        "interpolation_mode": INTERPOLATIONS.names(),
        "similarity_metric": METRICS.names(),
        "threshold_schedule": SCHEDULES.names(),
        "token_selector": SELECTORS.names(),
        "eviction": EVICTIONS.names(),
    }
