"""A threshold that follows the similarities seen: typical inputs reuse, outliers compute."""

import math
from collections import deque
from collections.abc import Callable, Iterable
from statistics import median
from threading import Lock
from typing import Any

LEAST_SEEN = 10
"""Similarities of a layer and branch before its threshold moves."""

FENCE = 3.0
"""Median absolute deviations below the median from which an input is an outlier (about two standard deviations)."""

_LOCK = Lock()  # of all thresholds: an own one would not let a model be copied

Observation = tuple[str, int, float]
"""Branch ("attn" or "mlp"), layer, similarity."""


class AdaptiveThresholds:
    """Per branch and layer, a lower fence under the last similarities, kept near the configured threshold.

    The fence is `median - 3 * MAD` of the window; the threshold is the fence moved into `base - reach .. base + reach`
    and 0 .. 1. The fence does not depend on base, so a higher base never gives a lower threshold, and on the same
    stream never more hits. Thresholds of 0 (always) and 1 (practically never) stay.

    Observations outlive a generation. A run that reads thresholds from a `snapshot` and hands its observations over at
    its end leaves no trace when it fails, and is not moved by a run beside it.

    Args:
        window: how many recent similarities count, `similarity_window` of the configuration.
        reach: how far the threshold may leave the configured one, `adaptive_range`.
    """

    def __init__(self, window: int = 20, reach: float = 0.2):
        self.window, self.reach = window, reach
        self._seen: dict[tuple[str, int], deque[float]] = {}
        self._counts: dict[tuple[str, int], int] = {}

    def threshold(self, branch: str, layer: int, base: float) -> float:
        """The threshold in force for a branch of a layer."""
        if not 0 < base < 1 or self._counts.get((branch, layer), 0) < LEAST_SEEN:
            return base
        fence = lower_fence(self._seen[branch, layer])
        near = min(max(fence, base - self.reach), base + self.reach)
        return min(max(near, 0.0), 1.0)

    def observe(self, observations: Iterable[Observation]) -> None:
        """Take note of similarities, in order; values that are not finite are left out."""
        with _LOCK:
            for branch, layer, value in observations:
                if math.isfinite(value):
                    key = branch, layer
                    self._seen.setdefault(key, deque(maxlen=self.window)).append(value)
                    self._counts[key] = self._counts.get(key, 0) + 1

    def snapshot(self) -> "AdaptiveThresholds":
        """An independent copy, for one generation."""
        copy = AdaptiveThresholds(self.window, self.reach)
        with _LOCK:
            copy._seen = {key: deque(values, self.window) for key, values in self._seen.items()}
            copy._counts = dict(self._counts)
        return copy

    def reset(self) -> None:
        """Forget everything seen."""
        with _LOCK:
            self._seen.clear()
            self._counts.clear()

    def to_dict(self, base: Callable[[str, int], float]) -> dict[str, Any]:
        """Thresholds in force by branch and layer (as text), for branches and layers that were seen.

        Args:
            base: (branch, layer) -> the configured threshold there.
        """
        found: dict[str, Any] = {}
        seen = self.snapshot()
        for branch, layer in sorted(seen._seen):
            found.setdefault(branch, {})[str(layer)] = seen.threshold(branch, layer, base(branch, layer))
        return found


def lower_fence(values: Iterable[float]) -> float:
    """Median minus three median absolute deviations."""
    values = list(values)
    middle = median(values)
    return middle - FENCE * median(abs(value - middle) for value in values)
