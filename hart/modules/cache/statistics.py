"""What the cache did, counted; tensors are read only when someone asks.

Similarities of a run stay on their device until `to_dict`; counting is plain Python. Statistics of runs that ended
well are merged into those of the model, so that a failed run leaves nothing.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from hart.modules.cache.rules import TableKey
from hart.utils.intervals import summary

EMPTY = "empty"
"""Cause of a miss: nothing that fits is stored from an earlier stage."""

DISSIMILAR = "dissimilar"
"""Cause of a miss: the similarity estimate is below the threshold."""

HIT = "hit"
_LOCK = Lock()  # of all statistics: an own one would not let a model be copied
CAUSES = (EMPTY, DISSIMILAR)
MOST_KEPT = 4096
"""Similarities per branch that statistics are made of: the most recent ones."""


_COLLECTORS: ContextVar[tuple[tuple["CacheStatistics", "CacheStatistics"], ...]] = ContextVar(
    "collectors", default=()
)  # (total, collector) of every `collected` that this thread is inside of


class CacheStatistics:
    """Counts of one run, or of all runs since the last reset."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start again from nothing."""
        with _LOCK:
            self._outcomes: Counter[tuple[int, str, str]] = Counter()
            self._similarities: dict[str, list[tuple[TableKey, float | Tensor]]] = {}
            self._seen: Counter[str] = Counter()
            self._flops_saved = 0
            self._stage_flops: Counter[int] = Counter()
            self._peak_bytes = 0

    # -- during a run ------------------------------------------------------------------------------------------------

    def hit(self, branch: str, stage: int, count: int = 1) -> None:
        """A branch was reused or refreshed; `count` layers at once for a fused reuse."""
        self._outcomes[stage, branch, HIT] += count

    def miss(self, branch: str, stage: int, cause: str, count: int = 1) -> None:
        """A branch was computed at a skip stage, because of `EMPTY` or `DISSIMILAR`."""
        self._outcomes[stage, branch, cause] += count

    def similarity(self, branch: str, layer: int, stage: int, value: float | Tensor) -> None:
        """A similarity was seen; a tensor of any shape counts with its mean and is not read now."""
        value = value.detach().float().mean() if isinstance(value, Tensor) else value
        kept = self._similarities.setdefault(branch, [])
        kept.append(((branch, layer, stage), value))
        self._seen[branch] += 1
        if len(kept) >= 2 * MOST_KEPT:
            del kept[:-MOST_KEPT]

    def flops(self, computed: Mapping[int, int], saved: int = 0) -> None:
        """Floating-point operations done, by stage (a token count), and those that a run without cache adds."""
        self._stage_flops.update(computed)
        self._flops_saved += saved

    def bytes_held(self, peak: int) -> None:
        """Peak of the store of a run; the largest is reported."""
        self._peak_bytes = max(self._peak_bytes, peak)

    # -- between runs ------------------------------------------------------------------------------------------------

    def merge(self, run: "CacheStatistics") -> None:
        """Add the counts of a run; its similarities are read here, in one copy per branch."""
        similarities = {branch: _read(entries) for branch, entries in run._similarities.items()}
        with _LOCK:
            self._outcomes.update(run._outcomes)
            self._seen.update(run._seen)
            self.flops(run._stage_flops, run._flops_saved)
            self.bytes_held(run._peak_bytes)
            for branch, entries in similarities.items():
                self._similarities.setdefault(branch, []).extend(entries)
                del self._similarities[branch][:-MOST_KEPT]

    def collectors(self) -> list["CacheStatistics"]:
        """Where a run that begins now is counted beside these totals."""
        return [collector for total, collector in _COLLECTORS.get() if total is self]

    @contextmanager
    def collected(self) -> Iterator["CacheStatistics"]:
        """Counts for themselves of the runs that this thread begins inside; these totals count them all the same."""
        collector = CacheStatistics()
        token = _COLLECTORS.set((*_COLLECTORS.get(), (self, collector)))
        try:
            yield collector
        finally:
            _COLLECTORS.reset(token)

    # -- read --------------------------------------------------------------------------------------------------------

    def observations(self) -> list[tuple[TableKey, float]]:
        """Every similarity still kept with its key, in the order seen per branch."""
        similarities = self._copy()._similarities
        return [entry for branch in sorted(similarities) for entry in _read(similarities[branch])]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, ready for JSON (design, section 8); stages as text.

        `similarity_stats` holds the branches of which something was seen: mean, std, min, max, median, p80 and p90 of
        the last 4096 similarities, and the count of all.
        """
        return self._copy()._described()

    def _copy(self) -> "CacheStatistics":
        """The same counts, which no run beside this reader adds to."""
        copy = CacheStatistics()
        with _LOCK:
            copy._outcomes, copy._seen = Counter(self._outcomes), Counter(self._seen)
            copy._similarities = {branch: list(entries) for branch, entries in self._similarities.items()}
            copy._flops_saved, copy._peak_bytes = self._flops_saved, self._peak_bytes
            copy._stage_flops = Counter(self._stage_flops)
        return copy

    def _described(self) -> dict[str, Any]:
        stages = sorted({stage for stage, _, _ in self._outcomes})
        branches = sorted({branch for _, branch, _ in self._outcomes})
        computed, saved = self._stage_flops.total(), self._flops_saved
        return {
            **self._counts(self._outcomes),
            "per_stage": {str(stage): self._counts(self._part(0, stage)) for stage in stages},
            "per_branch": {branch: self._counts(self._part(1, branch)) for branch in branches},
            "hits_per_branch_and_stage": self._hits_by_branch(),
            "similarity_stats": self._similarity_stats(),
            "flops_computed": computed,
            "flops_saved": saved,
            "flops_saved_ratio": saved / (saved + computed) if saved else 0.0,
            "flops_per_stage": {str(stage): count for stage, count in sorted(self._stage_flops.items())},
            "cache_peak_bytes": self._peak_bytes,
        }

    def _part(self, position: int, value: object) -> Counter[tuple[int, str, str]]:
        return Counter({key: count for key, count in self._outcomes.items() if key[position] == value})

    def _hits_by_branch(self) -> dict[str, dict[str, int]]:
        hits: dict[str, dict[str, int]] = {}
        for (stage, branch, outcome), count in sorted(self._outcomes.items()):
            if outcome == HIT:
                hits.setdefault(branch, {})[str(stage)] = count
        return hits

    @staticmethod
    def _counts(outcomes: Counter[tuple[int, str, str]]) -> dict[str, Any]:
        by_outcome: Counter[str] = Counter()
        for (_, _, outcome), count in outcomes.items():
            by_outcome[outcome] += count
        hits = by_outcome.pop(HIT, 0)
        misses = {cause: by_outcome[cause] for cause in sorted({*CAUSES, *by_outcome})}
        decisions = hits + sum(misses.values())
        return {"cache_hit_rate": hits / decisions if decisions else 0.0, "hits": hits, "misses": misses}

    def _similarity_stats(self) -> dict[str, dict[str, float]]:
        found = {}
        for branch in sorted(self._similarities):
            values = [value for _, value in _read(self._similarities[branch])[-MOST_KEPT:] if math.isfinite(value)]
            if values:
                found[branch] = {**summary(values), "count": self._seen[branch]}
        return found


def _read(entries: list[tuple[TableKey, float | Tensor]]) -> list[tuple[TableKey, float]]:
    """The same entries with plain numbers; all tensors come from their device in one copy."""
    tensors = [value for _, value in entries if isinstance(value, Tensor)]
    numbers = iter(torch.stack(tensors).tolist() if tensors else [])
    return [(key, next(numbers) if isinstance(value, Tensor) else float(value)) for key, value in entries]
