"""Measuring true similarities: a generation that computes everything and compares each stage with the one before."""

import json
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from hart.modules.cache.no_cache import Branch, NoCache, StageStart
from hart.modules.cache.similarity import similarity
from hart.modules.cache.statistics import percentile
from hart.modules.cache.upsample import upsample_tokens
from hart.utils.files import read_record, write_whole

FORMAT = "hart-similarity-table"
LOW_PERCENTILE = 20.0
_LOCK = Lock()  # of all calibrations: an own one would not let a model be copied

Place = tuple[str, int, int]
"""Branch kind, layer, stage (as a token count)."""


class TableRow(BaseModel):
    """One place of a saved table: mean and low percentile of `count` similarities."""

    model_config = ConfigDict(strict=True, extra="forbid")
    branch: Literal["attn", "mlp"]
    layer: int = Field(ge=0)
    stage: int = Field(ge=1)
    mean: float = Field(allow_inf_nan=False)
    low: float = Field(allow_inf_nan=False)
    count: int = Field(ge=1)


class TableFile(BaseModel):
    """A saved similarity table."""

    model_config = ConfigDict(strict=True, extra="forbid")
    format: Literal["hart-similarity-table"]
    version: Literal[1]
    rows: list[TableRow] = Field(min_length=1)


class Calibration:
    """Similarities seen at every branch, layer and stage, over any number of pictures."""

    def __init__(self) -> None:
        self._seen: dict[Place, list[float]] = defaultdict(list)

    def observe(self, seen: Sequence[tuple[Place, Tensor]]) -> None:
        """Add a generation's similarities [pictures] per place."""
        with _LOCK:
            for place, values in seen:
                self._seen[place] += values.tolist()

    def __len__(self) -> int:
        return len(self._seen)

    def values(self, kind: str, stages: Sequence[int] | None = None) -> list[float]:
        """All similarities of a branch kind, ascending, at the given stages or all."""
        found = [
            value
            for (seen_kind, _, stage), values in self._seen.items()
            if seen_kind == kind and (stages is None or stage in stages)
            for value in values
        ]
        return sorted(found)

    def table(self, percent: float | None = None) -> dict[Place, float]:
        """The mean per place, or a percentile."""
        if percent is None:
            return {place: sum(values) / len(values) for place, values in self._seen.items()}
        return {place: percentile(sorted(values), percent) for place, values in self._seen.items()}

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Save means and low percentiles; an interrupted save leaves the old file."""
        low = self.table(LOW_PERCENTILE)
        rows = [
            {"branch": place[0], "layer": place[1], "stage": place[2], "mean": mean, "low": low[place],
             "count": len(self._seen[place])}
            for place, mean in sorted(self.table().items())
        ]  # fmt: skip
        write_whole(path, json.dumps({"format": FORMAT, "version": 1, "rows": rows}, indent=1) + "\n")

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> "Calibration":
        """Load a saved table; each place then holds its mean alone.

        Raises:
            FileNotFoundError: no such file.
            ValueError: it is no similarity table.
        """
        file = read_record(TableFile, path, "a similarity table", "calibrate_thresholds()")
        calibration = cls()
        for row in file.rows:
            calibration._seen[row.branch, row.layer, row.stage] = [row.mean]
        return calibration


class RecordingCache(NoCache):
    """Computes every branch and compares its output with the upsampled one of the stage before.

    Args:
        patch_nums: sides of the stages.
        calibration: where the similarities go when the picture is done.
        done: called after that.
        metric, mode: how to compare and to upsample.
    """

    def __init__(
        self,
        patch_nums: Sequence[int],
        calibration: Calibration,
        done: Callable[[], None] = lambda: None,
        metric: str = "cosine",
        mode: str = "bilinear",
    ):
        self.patch_nums, self.calibration, self.done = tuple(patch_nums), calibration, done
        self.metric, self.mode = metric, mode
        self.previous: dict[tuple[str, int], tuple[int, Tensor]] = {}
        self.seen: list[tuple[Place, Tensor]] = []
        self.side = 0

    def begin_stage(self, start: StageStart) -> Tensor | None:
        self.side = self.patch_nums[start.index]
        return None

    def add(self, kind: str, layer: int, branch: Branch, x_RnC: Tensor, stage: Any) -> Tensor:
        out_RnC = branch(x_RnC, stage)
        tokens = self.side * self.side
        map_RnC = out_RnC[:, -tokens:]
        before = self.previous.get((kind, layer))
        if before is not None and map_RnC.shape[1] == tokens:
            reused = upsample_tokens(before[1], before[0], self.side, self.mode)
            both_R = similarity(reused, map_RnC, self.metric)
            self.seen.append(((kind, layer, tokens), both_R.view(2, -1).mean(0)))
        if map_RnC.shape[1] == tokens:
            self.previous[kind, layer] = self.side, map_RnC
        return x_RnC + out_RnC

    def finish(self) -> None:
        self.calibration.observe(self.seen)
        self.done()
