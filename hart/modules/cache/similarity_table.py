"""Measuring true similarities: a generation that computes everything and compares what a run would reuse."""

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from hart.modules.cache.config import HARTCacheConfig
from hart.modules.cache.plan import source_of
from hart.modules.cache.rules import TableKey
from hart.utils.files import write_whole
from hart.utils.intervals import percentile
from hart.utils.records import read_record

FORMAT = "hart-similarity-table"
LOW_PERCENTILE = 20.0
_LOCK = Lock()  # of all calibrations: an own one would not let a model be copied


class TableRow(BaseModel):
    """One row of a saved table: mean and low percentile of `count` similarities to stage `source`'s outputs."""

    model_config = ConfigDict(strict=True, extra="forbid")
    branch: Literal["attn", "mlp"]
    layer: int = Field(ge=0)
    stage: int = Field(ge=1)
    mean: float = Field(allow_inf_nan=False)
    low: float = Field(allow_inf_nan=False)
    count: int = Field(ge=1)
    source: int | None = Field(default=None, ge=1)


class TableFile(BaseModel):
    """A saved similarity table; older ones do not say how they were measured."""

    model_config = ConfigDict(strict=True, extra="forbid")
    format: Literal["hart-similarity-table"]
    version: Literal[1]
    metric: str | None = None
    mode: str | None = None
    rows: list[TableRow] = Field(min_length=1)


@dataclass(frozen=True)
class Compared:
    """How outputs are compared.

    Args:
        metric: of similarity; None where nothing is known.
        mode: of upsampling; None where nothing is known.
        sources: stage to the stage whose output it is compared with, both as token counts.
    """

    metric: str | None = None
    mode: str | None = None
    sources: dict[int, int] = field(default_factory=dict)


def as_a_run_would(config: HARTCacheConfig | None, patch_nums: Sequence[int]) -> Compared:
    """What the settings would reuse, and how; elsewhere, and without settings, the stage before, by the defaults."""
    given = config or HARTCacheConfig()
    sources = {}
    for index in range(1, len(patch_nums)):
        tokens = patch_nums[index] ** 2
        source = source_of(given, patch_nums, index) if tokens in given.skip_stages else None
        sources[tokens] = patch_nums[index - 1 if source is None else source] ** 2
    return Compared(given.similarity_metric, given.interpolation_mode, sources)


class Calibration:
    """Similarities seen at every branch, layer and stage, over any number of pictures.

    Args:
        compared: how.
    """

    def __init__(self, compared: Compared | None = None) -> None:
        self.compared = compared or Compared()
        self._seen: dict[TableKey, list[float]] = defaultdict(list)
        self._estimated: dict[TableKey, list[float]] = defaultdict(list)
        self._loaded: dict[TableKey, TableRow] = {}

    def observe(
        self, seen: Sequence[tuple[TableKey, Tensor]], estimated: Iterable[tuple[TableKey, float]] = ()
    ) -> None:
        """Add a generation's true similarities [pictures] per key, and what the online estimate said of each."""
        with _LOCK:
            for key, values in seen:
                self._loaded.pop(key, None)
                self._seen[key] += values.tolist()
            for key, value in estimated:
                self._estimated[key].append(value)

    def __len__(self) -> int:
        return len(self.table())

    def values(self, kind: str, stages: Sequence[int] | None = None) -> list[float]:
        """All similarities of a branch kind, ascending, at the given stages or all."""
        return _of_kind(self._seen | {key: [row.mean] for key, row in self._loaded.items()}, kind, stages)

    def estimates(self, kind: str, stages: Sequence[int]) -> list[float]:
        """What the online estimate said of a branch kind at these stages, ascending."""
        return _of_kind(self._estimated, kind, stages)

    def table(self, percent: float | None = None) -> dict[TableKey, float]:
        """The mean per key, or a percentile; of loaded keys the low one is known, for any other the mean stands."""
        known = {key: row.low if percent == LOW_PERCENTILE else row.mean for key, row in self._loaded.items()}
        if percent is None:
            return known | {key: sum(values) / len(values) for key, values in self._seen.items()}
        return known | {key: percentile(sorted(values), percent) for key, values in self._seen.items()}

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Save means and low percentiles, and how they were measured; an interrupted save leaves the old file."""
        with _LOCK:
            rows = [row.model_dump() for _, row in sorted(self._rows().items())]
        content = {"format": FORMAT, "version": 1, "metric": self.compared.metric, "mode": self.compared.mode}
        write_whole(path, json.dumps(content | {"rows": rows}, indent=1) + "\n")

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> "Calibration":
        """Load a saved table, with the mean, low percentile and count of each key.

        Raises:
            FileNotFoundError: no such file.
            ValueError: it is no similarity table.
        """
        file = read_record(TableFile, path, "a similarity table", "calibrate_thresholds()")
        sources = {row.stage: row.source for row in file.rows if row.source is not None}
        calibration = cls(Compared(file.metric, file.mode, sources))
        calibration._loaded = {(row.branch, row.layer, row.stage): row for row in file.rows}
        return calibration

    def _rows(self) -> dict[TableKey, TableRow]:
        mean, low, rows = self.table(), self.table(LOW_PERCENTILE), dict(self._loaded)
        for key, values in self._seen.items():
            kind, layer, stage = key
            source = self.compared.sources.get(stage)
            rows[key] = TableRow.model_validate(
                {"branch": kind, "layer": layer, "stage": stage, "mean": mean[key], "low": low[key],
                 "count": len(values), "source": source}
            )  # fmt: skip
        return rows


def _of_kind(seen: dict[TableKey, list[float]], kind: str, stages: Sequence[int] | None) -> list[float]:
    found = [
        value
        for (seen_kind, _, stage), values in seen.items()
        if seen_kind == kind and (stages is None or stage in stages)
        for value in values
    ]
    return sorted(found)


def check_table(table: Calibration, config: HARTCacheConfig, patch_nums: Sequence[int], depth: int) -> None:
    """Whether a loaded table says what these settings ask for, of this model.

    Raises:
        ValueError: it is of another depth or pyramid, lacks something, or was measured in another way.
    """
    name, stages = f"sim_path is {config.sim_path!r}, whose table", [side * side for side in patch_nums]
    known = table.table()
    for _, layer, stage in sorted(known):
        if layer >= depth:
            raise ValueError(f"{name} names layer {layer}; allowed are tables of this model's layers 0 to {depth - 1}.")
        if stage not in stages:
            raise ValueError(f"{name} names stage {stage}; allowed are this model's {', '.join(map(str, stages))}.")
    expected = as_a_run_would(config, patch_nums)
    for what, measured, asked in (
        ("similarity_metric", table.compared.metric, expected.metric),
        ("interpolation_mode", table.compared.mode, expected.mode),
    ):
        if measured not in (None, asked):
            raise ValueError(f"{name} was measured with {what} {measured!r}; allowed is the settings' {asked!r}.")
    for kind, layer, index in _asked(config, patch_nums, depth):
        stage, source = stages[index], table.compared.sources.get(stages[index])
        if (kind, layer, stage) not in known:
            raise ValueError(
                f"{name} has no similarity of {kind} in layer {layer} at stage {stage}; allowed are tables with all "
                "that may be reused: measure one with calibrate_thresholds()."
            )
        if source not in (None, expected.sources[stage]):
            raise ValueError(
                f"{name} compared stage {stage} with stage {source}; allowed is stage {expected.sources[stage]}, "
                "from which the settings reuse: measure one with calibrate_thresholds() while they are set."
            )


def _asked(config: HARTCacheConfig, patch_nums: Sequence[int], depth: int) -> list[tuple[str, int, int]]:
    """Kind, layer and stage index of every estimate that the settings may ask for."""
    if config.unselected == "nothing":
        return []
    return [
        (kind, layer, index)
        for index, side in enumerate(patch_nums)
        if side * side in config.skip_stages and source_of(config, patch_nums, index) is not None
        for kind in ("attn", "mlp")
        if config.base_threshold(kind) > 0
        for layer in range(depth)
        if config.may_reuse(kind, layer, depth)
    ]
