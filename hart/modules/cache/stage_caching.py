"""The stage cache of one model: its settings and what it has seen between runs. It makes the cache of every run.

It holds no weights and nothing of a running generation, so models that share weights each have one of their own.
"""

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from hart.modules.cache.adaptive import AdaptiveThresholds
from hart.modules.cache.branch_cache import BranchCache, NoCache
from hart.modules.cache.config import HARTCacheConfig
from hart.modules.cache.counting import CountingCache
from hart.modules.cache.plan import build_plan
from hart.modules.cache.policy import Policy
from hart.modules.cache.recording import RecordingCache, estimating_config
from hart.modules.cache.rules import Resize, TableKey
from hart.modules.cache.similarity_table import Calibration, as_a_run_would, check_table
from hart.modules.cache.stage_cache import StageCache
from hart.modules.cache.statistics import CacheStatistics
from hart.modules.cache.thresholds import scheduled_threshold
from hart.utils.files import check_target

CacheSetting = HARTCacheConfig | str | None
"""Settings, a preset's name, or None for no cache."""

DEFAULT_PRESET = "original-cache"

Upsampling = Callable[[Tensor, str, int], Tensor]
"""(map [R, C, h, w], interpolation mode, side) -> map [R, C, side, side] of the same dtype."""


class StageCaching:
    """Settings, similarity table, adapted thresholds, statistics and record of one model.

    Args:
        patch_nums: sides of the model's token maps.
        depth: number of layers.
        counting: runs without reuse count their operations, too.
    """

    def __init__(self, patch_nums: Sequence[int], depth: int, counting: bool = False):
        self.patch_nums, self.depth, self.counting = tuple(patch_nums), depth, counting
        self.statistics = CacheStatistics()
        self.recorded = Calibration()
        self.sim_path: str | os.PathLike[str] | None = None
        self._config: HARTCacheConfig | None = None
        self._table: dict[TableKey, float] = {}
        self._adaptive = AdaptiveThresholds()
        self._enabled = False
        self._recording = False

    # -- settings ----------------------------------------------------------------------------------------------------

    @property
    def config(self) -> HARTCacheConfig | None:
        """A copy of the settings, in force or kept; change them with `set_config`."""
        return copy.deepcopy(self._config)

    @property
    def table(self) -> dict[TableKey, float]:
        """A copy of the similarities that the settings' table holds; empty without a table."""
        return dict(self._table)

    @property
    def is_enabled(self) -> bool:
        """Whether the next run may reuse anything."""
        return self._enabled and self._config is not None

    def set_config(self, setting: CacheSetting) -> None:
        """Use these settings from the next run on; a name means that preset on this model's pyramid.

        Raises:
            ValueError: the settings do not fit the model's stages or layers, or ask for a table of similarities that
                is not there or was measured in another way; the old ones stay in force.
        """
        if setting is None:
            self._enabled, self._config, self._table = False, None, {}
            return
        if isinstance(setting, str):
            setting = HARTCacheConfig.from_preset(setting, patch_nums=self.patch_nums)
        if not isinstance(setting, HARTCacheConfig):
            raise ValueError(
                f"cache_config must be a HARTCacheConfig, a preset's name or None, got {setting!r}; "
                "HARTCacheConfig.from_dict(...) takes a dict, HARTCacheConfig.from_json(...) a file."
            )
        setting.validate([side * side for side in self.patch_nums], depth=self.depth)
        config = copy.deepcopy(setting)
        self._table = self._read_table(config)
        self._config = config
        self._adaptive = AdaptiveThresholds(config.similarity_window, config.adaptive_range)
        self._enabled = True

    def _read_table(self, config: HARTCacheConfig) -> dict[TableKey, float]:
        if config.sim_path is None:
            if config.estimator == "calibrated":
                raise ValueError(
                    "estimator is 'calibrated' and sim_path is None; allowed with it is a table's file: "
                    "write one with calibrate_thresholds(sim_path=...)."
                )
            return {}
        if not Path(config.sim_path).is_file():
            raise FileNotFoundError(
                f"sim_path of the cache settings must be a file that is there, got {config.sim_path!r}."
            )
        config.sim_path = str(Path(config.sim_path).absolute())  # wherever the process goes from here
        table = Calibration.from_json(config.sim_path)
        if config.estimator != "online":
            check_table(table, config, self.patch_nums, self.depth)
        return table.table()

    def enable(self, setting: CacheSetting = None) -> None:
        """Switch reuse on: with these settings, those set before, or `original-cache`."""
        if setting is not None or self._config is None:
            self.set_config(DEFAULT_PRESET if setting is None else setting)
        self._enabled = True

    def disable(self) -> None:
        """Compute everything; the settings are kept for `enable()`."""
        self._enabled = False

    @property
    def recording(self) -> bool:
        """Whether runs record true similarities (nothing is reused then); switching it on begins a new record."""
        return self._recording

    @recording.setter
    def recording(self, value: bool) -> None:
        if value and not self._recording:
            self.recorded = Calibration()
        self._recording = bool(value)

    # -- the cache of a run ------------------------------------------------------------------------------------------

    def new_cache(
        self, blocks: Any, rounds: int = 1, beside: BranchCache | None = None, upsampling: Upsampling | None = None
    ) -> BranchCache:
        """The cache of one generation, made from the settings at its start.

        Args:
            blocks: the transformer's blocks, whose operations are counted.
            rounds: in which the last stage is decoded.
            beside: the cache of the first picture that is painted at the same time; None where this is the first.
            upsampling: how kept maps become larger; nothing is assumed of it, so each branch's map is then kept by
                itself. None for the settings' interpolation mode.
        """
        config = self._config
        if self._recording:
            return self._recording_cache(blocks, upsampling)
        if not self._enabled or config is None or config.changes_nothing:
            return CountingCache(self.patch_nums, blocks, self.statistics) if self.counting else NoCache()
        return self._stage_cache(
            config, self._table, self.statistics, self._adaptive, blocks, upsampling, rounds=rounds, beside=beside
        )

    def _stage_cache(
        self,
        config: HARTCacheConfig,
        table: dict[TableKey, float],
        statistics: CacheStatistics,
        adaptive: AdaptiveThresholds,
        blocks: Any,
        upsampling: Upsampling | None,
        *,
        rounds: int = 1,
        beside: BranchCache | None = None,
    ) -> StageCache:
        policy = Policy(config, table, adaptive.snapshot())
        linear = None if upsampling is None else False
        plan = build_plan(config, self.patch_nums, self.depth, policy.signature, linear, rounds)
        account = beside.store.account if isinstance(beside, StageCache) else None
        return StageCache(config, plan, policy, statistics, adaptive, blocks, _resize(config, upsampling), account)

    def _recording_cache(self, blocks: Any, upsampling: Upsampling | None) -> RecordingCache:
        """Compares as a run with the settings would; settings that compare in another way begin a new record."""
        config = self._config
        compared = as_a_run_would(config, self.patch_nums)
        if self.recorded.compared != compared:
            self.recorded = Calibration(compared)
        recorded, estimating = self.recorded, None
        if config is not None and (config.needs_source or config.unselected == "nothing"):
            never = estimating_config(config)
            estimating = self._stage_cache(never, {}, CacheStatistics(), AdaptiveThresholds(), blocks, upsampling)
        given = config or HARTCacheConfig()
        resize = _resize(given, upsampling) or given.interpolation_mode
        target = check_target(self.sim_path, "sim_path") if self.sim_path else None

        def save() -> None:
            if target is not None and len(recorded):
                recorded.to_json(target)

        return RecordingCache(self.patch_nums, recorded, resize, estimating, save)

    # -- statistics --------------------------------------------------------------------------------------------------

    def get_statistics(self) -> dict[str, Any]:
        """What the cache did since the last reset, as plain numbers."""
        return self._described(self.statistics)

    @contextmanager
    def separate_statistics(self) -> Iterator[Callable[[], dict[str, Any]]]:
        """Count the runs inside for themselves; they are part of the model's statistics all the same.

        Gives a function that returns the statistics so far, in the form of `get_statistics`. Only runs of this thread
        are counted; other threads may do the same at the same time.
        """
        with self.statistics.collected() as own:
            yield lambda: self._described(own)

    def reset_statistics(self) -> None:
        """Forget counts, similarities (recorded ones, too) and adapted thresholds."""
        self.statistics.reset()
        self._adaptive.reset()
        self.recorded = Calibration()

    def _described(self, counted: CacheStatistics) -> dict[str, Any]:
        config = self._config
        return counted.to_dict() | {
            "config": None if config is None else config.to_dict(),
            "adaptive_thresholds": {} if config is None else self._adapted(config),
        }

    def _adapted(self, config: HARTCacheConfig) -> dict[str, Any]:
        """Adapted thresholds at the last skip stage, where a schedule that rises is strictest."""
        if not (config.adaptive_threshold and config.skip_stages):
            return {}
        stage, name = max(config.skip_stages), config.threshold_schedule
        return self._adaptive.to_dict(
            lambda branch, layer: scheduled_threshold(name, stage, layer, branch, config.base_threshold(branch))
        )


def _resize(config: HARTCacheConfig, upsampling: Upsampling | None) -> "Resize | None":
    """The given upsampling with the mode of one generation, whatever is set meanwhile."""
    if upsampling is None:
        return None
    return lambda map_RChw, side: upsampling(map_RChw, config.interpolation_mode, side)


__all__ = ["DEFAULT_PRESET", "CacheSetting", "StageCaching", "Upsampling"]
