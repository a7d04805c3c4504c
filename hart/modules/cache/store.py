"""What a generation keeps of earlier stages, to the byte.

Shapes: R rows, n = side * side tokens, C channels.
"""

from collections.abc import Callable, Hashable

from torch import Tensor

from hart.modules.cache.eviction import oldest
from hart.modules.cache.rules import Eviction, StoredMap


class Account:
    """Bytes that the stores of pictures painted side by side hold together, now and at their peak."""

    def __init__(self) -> None:
        self.current_bytes = self.peak_bytes = 0

    def add(self, num_bytes: int) -> None:
        """More is held, or less."""
        self.current_bytes += num_bytes
        self.peak_bytes = max(self.peak_bytes, self.current_bytes)


class FeatureStore:
    """Token maps by key, within a memory budget; one per generation.

    The budget is a store's own: what a picture may keep must not depend on the pictures beside it.

    Args:
        budget_bytes: most that all maps together may take; None for no limit.
        evict: rule that picks what goes first when a new map does not fit, see `eviction.py`.
        account: counts the bytes of several stores; None for this one's alone.
    """

    def __init__(self, budget_bytes: int | None = None, evict: Eviction = oldest, account: Account | None = None):
        self.budget_bytes, self._evict, self.account = budget_bytes, evict, account or Account()
        self._maps: dict[Hashable, StoredMap] = {}
        self.current_bytes = 0
        self.peak_bytes = 0
        self.num_evicted = 0
        self.num_refused = 0

    def put(self, key: Hashable, side: int, x_RnC: Tensor) -> bool:
        """Keep a map, in place of what the key held before; False where it is larger than the whole budget.

        The tensor is kept as it is, without a copy, unless it is a view of memory of another size.

        Raises:
            ValueError: the tokens are no map of this side.
        """
        if x_RnC.dim() != 3 or x_RnC.shape[1] != side * side:
            raise ValueError(f"x_RnC is {list(x_RnC.shape)}; allowed for side {side} is [rows, {side * side}, C].")
        self.free(key)
        num_bytes = x_RnC.numel() * x_RnC.element_size()
        if not self._make_room(num_bytes):
            self.num_refused += 1
            return False
        kept = x_RnC.detach()
        if kept.untyped_storage().nbytes() != num_bytes:
            kept = kept.contiguous().clone()  # a slice would keep all of its tensor alive
        self._maps[key] = StoredMap(key, side, kept, num_bytes)
        self._hold(num_bytes)
        return True

    def get(self, key: Hashable, like_RnC: Tensor) -> StoredMap | None:
        """The map of a key; None where there is none, or none of the same rows, channels, dtype and device."""
        if not self.fits(key, like_RnC):
            return None
        stored = self._maps[key]
        stored.reads += 1
        return stored

    def fits(self, key: Hashable, like_RnC: Tensor) -> bool:
        """Whether `get` would give a map."""
        stored = self._maps.get(key)
        return stored is not None and _fits(stored.x_RnC, like_RnC)

    def free(self, key: Hashable) -> None:
        """Give up a map; nothing happens where there is none."""
        stored = self._maps.pop(key, None)
        if stored is not None:
            self._hold(-stored.num_bytes)

    def free_where(self, unneeded: Callable[[StoredMap], bool]) -> None:
        """Give up every map of which the plan says that no later stage will read it."""
        for key in [key for key, stored in self._maps.items() if unneeded(stored)]:
            self.free(key)

    def keep_rows(self, rows: int) -> None:
        """Give up all but the first rows of every map."""
        for stored in list(self._maps.values()):
            self.put(stored.key, stored.side, stored.x_RnC[:rows])

    def clear(self) -> None:
        """Give up all maps; peak and counts stay."""
        self._maps.clear()
        self._hold(-self.current_bytes)

    def __len__(self) -> int:
        return len(self._maps)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._maps

    def _hold(self, num_bytes: int) -> None:
        self.current_bytes += num_bytes
        self.peak_bytes = max(self.peak_bytes, self.current_bytes)
        self.account.add(num_bytes)

    def _make_room(self, num_bytes: int) -> bool:
        if self.budget_bytes is None:
            return True
        if num_bytes > self.budget_bytes:
            return False
        while self.current_bytes + num_bytes > self.budget_bytes:
            chosen = self._evict(list(self._maps.values()))
            if self._maps.get(chosen.key) is not chosen:
                raise ValueError(f"the eviction rule picked {chosen.key!r}; allowed is one of the maps it was given.")
            self.free(chosen.key)
            self.num_evicted += 1
        return True


def _fits(x_RnC: Tensor, like_RnC: Tensor) -> bool:
    same_place = x_RnC.dtype == like_RnC.dtype and x_RnC.device == like_RnC.device
    return same_place and x_RnC.shape[0] == like_RnC.shape[0] and x_RnC.shape[2] == like_RnC.shape[2]
