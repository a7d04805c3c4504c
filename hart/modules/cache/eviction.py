"""Which kept map goes first when the memory budget is short."""

from collections.abc import Sequence

from hart.modules.cache.registries import EVICTIONS
from hart.modules.cache.rules import Eviction, StoredMap


def register_eviction(name: str, rule: Eviction) -> None:
    """Add an eviction rule.

    Args:
        name: new name, for `HARTCacheConfig.eviction`.
        rule: from the stored maps, the one stored longest ago first, picks the one to give up.

    Raises:
        ValueError: the name is taken.
    """
    EVICTIONS.register(name, rule)


def oldest(maps: Sequence[StoredMap]) -> StoredMap:
    """The one stored longest ago."""
    return maps[0]


def largest(maps: Sequence[StoredMap]) -> StoredMap:
    """The one that frees most; the older one where several do."""
    return max(maps, key=lambda stored: stored.num_bytes)


def coarsest(maps: Sequence[StoredMap]) -> StoredMap:
    """The one of the smallest side, furthest from the stages to come; the older one where several are."""
    return min(maps, key=lambda stored: stored.side)


def unused(maps: Sequence[StoredMap]) -> StoredMap:
    """The one read least often; the older one where several are."""
    return min(maps, key=lambda stored: stored.reads)


register_eviction("oldest", oldest)
register_eviction("largest", largest)
register_eviction("coarsest", coarsest)
register_eviction("unused", unused)
