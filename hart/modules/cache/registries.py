"""The five registries of the cache, by the configuration field that names their entries; imports no torch."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from hart.modules.cache.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from hart.modules.cache.store import StoredMap
    from hart.modules.cache.token_selectors import SelectorInput, TokenSelector
    from hart.modules.cache.upsample import Interpolation

Metric: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"
"""(reused [R, n, C], computed [R, n, C]) -> similarity [R]; 1 means equal, larger is more alike."""

ThresholdSchedule: TypeAlias = Callable[[int, int, str, float], float]
"""(stage as a token count, layer, "attn" or "mlp", configured threshold) -> threshold there."""

Selector: TypeAlias = "Callable[[SelectorInput], Tensor]"
"""What is known before the branch runs -> importance [R, n] or [B, n]; larger is refreshed first."""

Eviction: TypeAlias = "Callable[[Sequence[StoredMap]], StoredMap]"
"""Stored maps, the one stored longest ago first -> the one to give up."""

INTERPOLATIONS: "Registry[Interpolation]" = Registry("interpolation mode", ["area", "bicubic", "bilinear", "nearest"])
METRICS: "Registry[Metric]" = Registry("similarity metric", ["centred_cosine", "cosine", "relative_l2"])
SCHEDULES: "Registry[ThresholdSchedule]" = Registry("threshold schedule", ["constant", "mlp_stricter", "rising"])
SELECTORS: "Registry[TokenSelector]" = Registry(
    "token selector", ["centred_change", "change", "edge", "fastvar", "fhat_cosine", "random"]
)
EVICTIONS: "Registry[Eviction]" = Registry("eviction rule", ["coarsest", "largest", "oldest", "unused"])


def known_names() -> dict[str, list[str]]:
    """Names that a configuration may use, by field."""
    return {
        "interpolation_mode": INTERPOLATIONS.names(),
        "similarity_metric": METRICS.names(),
        "threshold_schedule": SCHEDULES.names(),
        "token_selector": SELECTORS.names(),
        "eviction": EVICTIONS.names(),
    }
