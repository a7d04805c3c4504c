"""HART with the stage cache: the same model, whose blocks consult a cache before they compute.

What is decided and how is in `hart/modules/cache`; this file joins it to the model.
"""

import copy
import logging
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from hart.modules.cache.adaptive import AdaptiveThresholds
from hart.modules.cache.calibration import Calibration, Place, as_a_run_would, check_table
from hart.modules.cache.counting import CountingCache
from hart.modules.cache.no_cache import NoCache
from hart.modules.cache.plan import build_plan
from hart.modules.cache.policy import Policy
from hart.modules.cache.recording import RecordingCache
from hart.modules.cache.registry import unknown
from hart.modules.cache.schedule import scheduled_threshold
from hart.modules.cache.stage_cache import StageCache
from hart.modules.cache.statistics import CacheStatistics
from hart.modules.cache.upsample import Resize, upsample
from hart.modules.cache_benchmark import BenchmarkSettings, benchmark
from hart.modules.cache_calibration import (
    CalibrationSettings,
    calibrate,
    deciding_config,
    estimating_config,
    recommended_config,
)
from hart.modules.cache_config import HARTCacheConfig
from hart.modules.cache_planner import CacheProposal, Judge, PlanSettings, plan
from hart.modules.cache_prompts import Encode, Subjects, check_count
from hart.modules.models.autoencoder import HARTAutoEncoder
from hart.modules.models.transformer.configuration import HARTForT2IConfig
from hart.modules.models.transformer.hart_transformer_t2i import HARTForT2I
from hart.modules.models.transformer.loading import in_dtype
from hart.utils.devices import parse_dtype
from hart.utils.files import check_target

logger = logging.getLogger(__name__)

CacheSetting = HARTCacheConfig | str | None
DEFAULT_PRESET = "original-cache"


class EnhancedHARTForT2I(HARTForT2I):
    """`HARTForT2I` with a per-stage feature cache; parameters and checkpoints are the same.

    Args:
        config: sizes and flavours of the model.
        vae: the tokenizer; None finds it through the config's path when it is first needed.
        cache_config: settings or a preset's name; None paints without cache until one is set.

    Example:
        >>> model = EnhancedHARTForT2I.from_pretrained(path, cache_preset="original-cache")
        >>> images = model.autoregressive_infer_cfg(B=4, label_B=None, g_seed=42, cfg=1.5)
        >>> model.get_cache_statistics()["cache_hit_rate"]
    """

    # The older interface's name: a plain attribute here, a door to a wrapper of this class on `HARTForT2I`.
    sim_path: str | os.PathLike[str] | None = None
    _statistics: CacheStatistics
    _recorded: Calibration
    _recording: bool

    def __init__(self, config: HARTForT2IConfig, vae: HARTAutoEncoder | None = None, cache_config: CacheSetting = None):
        self._prepare_cache()
        super().__init__(config, vae)
        if cache_config is not None:
            self.set_cache_config(cache_config)

    def _prepare_cache(self) -> None:
        """Plain attributes; no tensors, nothing of a running generation."""
        self.__dict__.update(
            _cache_config=None,
            _cache_enabled=False,
            _recording=False,
            sim_path=None,
            _companion={},
            _statistics=CacheStatistics(),
            _adaptive=AdaptiveThresholds(),
            _table={},
            _recorded=Calibration(),
        )

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: Any, *args: Any, cache_preset: CacheSetting = None, **kwargs: Any
    ) -> Any:
        """Load a checkpoint as `HARTForT2I.from_pretrained` does and set a preset or configuration."""
        result = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        model = result[0] if isinstance(result, tuple) else result
        if cache_preset is not None:
            model.set_cache_config(cache_preset)
        return result

    @classmethod
    def from_hart(cls, model: HARTForT2I, cache_config: CacheSetting = None) -> "EnhancedHARTForT2I":
        """Wrap a loaded model; both share weights and tokenizer."""
        enhanced = cls.__new__(cls)
        enhanced.__dict__.update(model.__dict__)
        enhanced._prepare_cache()
        if cache_config is not None:
            enhanced.set_cache_config(cache_config)
        return enhanced

    # -- switching ---------------------------------------------------------------------------------------------------

    def set_cache_config(self, cache_config: CacheSetting) -> None:
        """Use these settings from the next picture on; a name means that preset on this model's pyramid.

        Raises:
            ValueError: the settings do not fit this model's stages or layers, or ask for a table of similarities that
                is not there or was measured in another way; the old ones stay in force.
        """
        if cache_config is None:
            self.disable_cache()
            self._cache_config = None
            return
        if isinstance(cache_config, str):
            cache_config = HARTCacheConfig.from_preset(cache_config, patch_nums=self.config.patch_nums)
        if not isinstance(cache_config, HARTCacheConfig):
            raise ValueError(
                f"cache_config must be a HARTCacheConfig, a preset's name or None, got {cache_config!r}; "
                "HARTCacheConfig.from_dict(...) takes a dict, HARTCacheConfig.from_json(...) a file."
            )
        stages = [side * side for side in self.config.patch_nums]
        cache_config.validate(stages, depth=self.config.depth)
        cache_config = copy.deepcopy(cache_config)  # what the caller does to it later is for the next call
        table = self._read_table(cache_config)
        self._cache_config = cache_config
        self._table = table
        self._adaptive = AdaptiveThresholds(cache_config.similarity_window, cache_config.adaptive_range)
        self._cache_enabled = True

    def _read_table(self, config: HARTCacheConfig) -> dict[Place, float]:
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
            check_table(table, config, self.config.patch_nums, self.config.depth)
        return table.table()

    def enable_cache(self, cache_config: CacheSetting = None) -> None:
        """Switch reuse on: with these settings, those set before, or `original-cache`."""
        chosen = self._cache_config or DEFAULT_PRESET if cache_config is None else cache_config
        if chosen is not self._cache_config:
            self.set_cache_config(chosen)
        self._cache_enabled = True

    def disable_cache(self) -> None:
        """Compute everything; the settings are kept for `enable_cache()`."""
        self._cache_enabled = False

    @property
    def is_cache_enabled(self) -> bool:
        """Whether the next picture may reuse anything."""
        return self._cache_enabled and self._cache_config is not None

    def with_cache(self) -> "EnhancedHARTForT2I":
        """This model: it caches for itself."""
        return self

    @property
    def use_cache(self) -> bool:
        """The older interface's switch: True enables the settings, or `original-cache` where there are none."""
        return self.is_cache_enabled

    @use_cache.setter
    def use_cache(self, value: bool) -> None:
        if value:
            self.enable_cache()
        else:
            self.disable_cache()

    @property
    def cache_config(self) -> HARTCacheConfig | None:
        """The settings, in force or kept."""
        return self._cache_config

    # -- painting ----------------------------------------------------------------------------------------------------

    def new_cache(self, rounds: int = 1, beside: NoCache | None = None) -> NoCache:
        """The cache of one generation, made from the settings at its start.

        Args:
            rounds: in which the last stage is decoded, `num_maskgit_iters`.
            beside: the cache of the first picture that is painted at the same time; None where this is the first.
        """
        if self.calibration:
            return self._recording_cache()
        config = self._cache_config
        if not self._cache_enabled or config is None or config.changes_nothing:
            return CountingCache(self.config.patch_nums, self.blocks, self._statistics)
        return self._stage_cache(config, self._table, self._statistics, self._adaptive, rounds, beside)

    def _stage_cache(
        self,
        config: HARTCacheConfig,
        table: dict[Place, float],
        statistics: CacheStatistics,
        adaptive: AdaptiveThresholds,
        rounds: int = 1,
        beside: NoCache | None = None,
    ) -> StageCache:
        policy = Policy(config, table, adaptive.snapshot())
        linear = False if self._overrides_upsampling else None
        account = beside.store.account if isinstance(beside, StageCache) else None
        plan = build_plan(config, self.config.patch_nums, self.config.depth, policy.signature, linear, rounds)
        return StageCache(config, plan, policy, statistics, adaptive, self.blocks, self._resize(config), account)

    def _recording_cache(self) -> RecordingCache:
        """Compares as a run with the settings would; settings that compare in another way begin a new record."""
        config = self._cache_config
        compared = as_a_run_would(config, self.config.patch_nums)
        if self._recorded.compared != compared:
            self._recorded = Calibration(compared)
        recorded, estimating = self._recorded, None
        if config is not None and (config.needs_source or config.unselected == "nothing"):
            never = estimating_config(config)
            estimating = self._stage_cache(never, {}, CacheStatistics(), AdaptiveThresholds())
        resize = self._resize(config or HARTCacheConfig())
        target = check_target(self.sim_path, "sim_path") if self.sim_path else None

        def save() -> None:
            if target is not None and len(recorded):
                recorded.to_json(target)

        return RecordingCache(self.config.patch_nums, recorded, resize, estimating, save)

    @property
    def calibration(self) -> bool:
        """Whether painting records true similarities (nothing is reused then) and writes them to `sim_path`.

        Each time it is switched on, a new record begins.
        """
        return self._recording

    @calibration.setter
    def calibration(self, value: bool) -> None:
        if value and not self._recording:
            self._recorded = Calibration()
        self._recording = bool(value)

    def enhanced_feature_interpolate(
        self, x_RChw: Tensor, mode: str | None = None, *, side: int | None = None
    ) -> Tensor:
        """A kept feature map [R, C, h, w] grown to a later stage; the cache upsamples with this method.

        A subclass that overrides it changes every reuse. Nothing is assumed of an override, so each branch's map is
        then kept and grown by itself.

        Args:
            x_RChw: the map; an override gives [R, C, side, side] of its dtype.
            mode: an interpolation mode; None takes the configured one.
            side: the later stage's; None for the next larger one of `patch_nums`.

        Raises:
            ValueError: unknown mode, or no side is given and no stage is larger.
        """
        configured = self._cache_config.interpolation_mode if self._cache_config else "bilinear"
        return upsample(x_RChw, self._next_side(x_RChw.shape[-1]) if side is None else side, mode or configured)

    def _next_side(self, side: int) -> int:
        larger = [other for other in self.config.patch_nums if other > side]
        if not larger:
            raise ValueError(
                f"x has side {side}; allowed without a side given are sides below {max(self.config.patch_nums)}, "
                "the last of patch_nums."
            )
        return larger[0]

    def _resize(self, config: HARTCacheConfig) -> Resize:
        """`enhanced_feature_interpolate` with the mode of one generation, whatever is set meanwhile."""
        return lambda map_RChw, side: self.enhanced_feature_interpolate(map_RChw, config.interpolation_mode, side=side)

    @property
    def _overrides_upsampling(self) -> bool:
        return type(self).enhanced_feature_interpolate is not EnhancedHARTForT2I.enhanced_feature_interpolate

    @property
    def recorded_similarities(self) -> Calibration:
        """What `calibration = True` has recorded since it was set, or since the last reset."""
        return self._recorded

    # -- measuring ---------------------------------------------------------------------------------------------------

    def calibrate_thresholds(
        self,
        num_samples: int | None = None,
        prompts: Sequence[str] | None = None,
        seed: int = 0,
        *,
        label_B: Tensor | None = None,
        context_position_ids: Tensor | None = None,
        context_mask: Tensor | None = None,
        batch_size: int = 4,
        cfg: float = 4.5,
        sim_path: str | os.PathLike[str] | None = None,
        return_config: bool = False,
        progress: bool = True,
    ) -> dict[str, Any]:
        """Measure how alike neighbouring stages are, and recommend a threshold per branch.

        Outputs are compared as the settings in force would reuse them (without any, or where they skip nothing:
        `original-cache`). Recommended is the 20th percentile of what a run will compare with the threshold at the skip
        stages: of the table's entries where there will be one (`sim_path` given here or in the settings), else of the
        online estimates. Settings, statistics and adapted thresholds stay as they are.

        Args:
            num_samples: pictures; None for the settings' `calibration_samples`.
            prompts: texts to paint; needs the text model beside the checkpoint. Without prompts and features the
                embedded model paints its sample prompts, any other paints unconditionally.
            seed: picture i is painted with seed + i.
            label_B, context_position_ids, context_mask: text features instead of prompts.
            batch_size, cfg: as in painting.
            sim_path: save the table of similarities there, for `HARTCacheConfig.sim_path`.
            return_config: put the settings with these thresholds (and the table) under `config`.
            progress: show a bar.

        Returns:
            `attn_threshold`, `mlp_threshold`, and by which `estimator`; per branch (`attn`, `mlp`) mean, std, extremes,
            percentiles and count of the true similarities; means `per_stage`; and what was painted.
        """
        config = self._cache_config or HARTCacheConfig()
        count = check_count("num_samples", config.calibration_samples if num_samples is None else num_samples)
        subjects = Subjects(self, count, prompts, label_B, context_position_ids, context_mask)
        settings = CalibrationSettings(count, seed, check_count("batch_size", batch_size), cfg, progress)
        deciding = deciding_config(self._cache_config, self.config.patch_nums)
        found = calibrate(type(self).from_hart(self, deciding), subjects, settings, sim_path, self._table)
        if return_config:
            base = self._cache_config or HARTCacheConfig.from_preset(DEFAULT_PRESET, patch_nums=self.config.patch_nums)
            found["config"] = recommended_config(base, found)
        return found

    def benchmark_performance(
        self,
        num_samples: int = 10,
        batch_size: int = 1,
        *,
        prompts: Sequence[str] | None = None,
        label_B: Tensor | None = None,
        context_position_ids: Tensor | None = None,
        context_mask: Tensor | None = None,
        seed: int = 0,
        cfg: float = 4.5,
        warmup: int = 1,
        json_path: str | os.PathLike[str] | None = None,
        progress: bool = True,
    ) -> dict[str, Any]:
        """Time the settings in force against no cache: the same pictures, in turn, in one run.

        Settings, statistics and adapted thresholds stay as they are.

        Args:
            num_samples: pictures of each side.
            batch_size: pictures painted at once.
            prompts, label_B, context_position_ids, context_mask, seed, cfg: see `calibrate_thresholds`.
            warmup: batches of each side that are painted first and not counted.
            json_path: save the result there.
            progress: show a bar.

        Returns:
            `benchmark` (the settings in force) and `no_cache`, each with `mean_time` in seconds per picture,
            `throughput_img_per_sec`, median and quartiles per batch, and time per part; `speed_up` of the medians and
            its `ceiling`; `flops`, `memory`, `statistics` of this run, `run_tag`, and how it was measured.
        """
        count = check_count("num_samples", num_samples)
        subjects = Subjects(self, count, prompts, label_B, context_position_ids, context_mask)
        settings = BenchmarkSettings(count, check_count("batch_size", batch_size), seed, cfg, warmup, progress)
        cached = type(self).from_hart(self, self._cache_config if self.is_cache_enabled else None)
        return benchmark(type(self).from_hart(self), cached, subjects, settings, json_path)

    def plan_cache(
        self,
        max_quality_drop: float = 0.01,
        prompts: Sequence[str] | None = None,
        seed: int = 0,
        *,
        num_search: int = 12,
        num_verify: int | None = None,
        num_confirm: int | None = None,
        cfg: float = 4.5,
        judge: Judge | None = None,
        progress: bool = True,
        candidates: Sequence[HARTCacheConfig] | None = None,
        min_psnr: float | None = None,
        encode: Encode | None = None,
        kept_apart: Collection[str] = (),
        journal: str | os.PathLike[str] | None = None,
    ) -> CacheProposal:
        """Search the fastest settings that lose at most so much quality, and verify them on other prompts.

        Takes minutes: thousands of pictures. Settings, statistics and adapted thresholds stay as they are.

        Args:
            max_quality_drop: budget, as a share of the score (0.01: one picture of a hundred shows its prompt no more).
            prompts: at least two; by turns they go to search, verification and confirmation. None: on the embedded
                model search on training captions, the rest on held-out ones; elsewhere unconditional pictures.
            seed: pictures are painted with seed, seed + 1, ...
            num_search, num_verify, num_confirm: pictures of each step. None: for right-or-wrong scores so many that
                the budget is five of them (20 to 500: 500 for one point, 100 for five), for latent maps 32.
            cfg: as in painting.
            judge: (pictures [B, 3, H, W] of 0 to 1, prompts) to a score of each. None: on captions of the embedded
                model whether the picture shows its prompt, by program; elsewhere how near its latent map is to the
                full run's, which is strict and no judgement of pictures.
            progress: show bars.
            candidates: settings that are tried beside the search's own and, where they are faster than what it finds,
                verified whatever they do to the latent map. None: all presets that fit the model.
            min_psnr: least median PSNR in dB to the full run's pictures that the proposal must reach, too.
            encode: reads prompts, such as `HARTPipeline.encode`; None takes the text model beside the checkpoint.
            kept_apart: captions that the embedded model is not judged by, for a measurement afterwards.
            journal: file that keeps what was painted; a killed plan of the same arguments goes on from there.

        Returns:
            A proposal: `config` for `set_cache_config`, `speed_up`, `quality_drop`, and all that was tried.

        Raises:
            ValueError: a budget outside its range, a candidate that does not fit the model, too few prompts or
                pictures, or a journal of another plan.
        """
        settings = PlanSettings(
            max_quality_drop=max_quality_drop,
            seed=seed,
            num_search=num_search,
            num_verify=num_verify,
            num_confirm=num_confirm,
            cfg=cfg,
            judge=judge,
            progress=progress,
            candidates=candidates,
            min_psnr=min_psnr,
            encode=encode,
            kept_apart=kept_apart,
            journal=journal,
        )
        return plan(self, prompts, settings)

    # -- statistics and files ----------------------------------------------------------------------------------------

    def get_cache_statistics(self) -> dict[str, Any]:
        """What the cache did since the last reset, as plain numbers (see the guide for every key)."""
        return self._described(self._statistics)

    @contextmanager
    def separate_statistics(self) -> Iterator[Callable[[], dict[str, Any]]]:
        """Count what is painted inside for itself; it is part of the model's statistics all the same.

        Gives a function that returns the statistics so far, in the form of `get_cache_statistics`. Only what this
        thread paints is counted; others may do the same at the same time.
        """
        with self._statistics.collected() as own:
            yield lambda: self._described(own)

    def _described(self, counted: CacheStatistics) -> dict[str, Any]:
        config = self._cache_config
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
            lambda kind, layer: scheduled_threshold(name, stage, layer, kind, config.base_threshold(kind))
        )

    def reset_cache_statistics(self) -> None:
        """Forget counts, similarities (those that `calibration` recorded, too) and adapted thresholds."""
        self._statistics.reset()
        self._adaptive.reset()
        self._recorded = Calibration()

    def save_cache_config(self, path: str | os.PathLike) -> None:
        """Save the settings as JSON.

        Raises:
            ValueError: none are set.
        """
        if self._cache_config is None:
            raise ValueError("cache_config is None; set one with set_cache_config() before saving it.")
        self._cache_config.to_json(path)

    def load_cache_config(self, path: str | os.PathLike) -> None:
        """Load settings from JSON and use them."""
        self.set_cache_config(HARTCacheConfig.from_json(path))


def create_enhanced_hart_model(
    config: HARTForT2IConfig,
    cache_preset: str | None = None,
    custom_cache_config: HARTCacheConfig | None = None,
    **kwargs: Any,
) -> EnhancedHARTForT2I:
    """Build a model with its cache: trained where the config was read from a checkpoint, else random with a warning.

    Args:
        config: from `HARTForT2IConfig.from_pretrained(path)`, or built by hand.
        cache_preset: a preset's name; default `original-cache`.
        custom_cache_config: settings instead of a preset.
        kwargs: for `from_pretrained`; of random weights, `dtype` and `vae` alone.

    Raises:
        FileNotFoundError: the folder that the config was read from is gone.
        ValueError: preset and settings are both given, or do not fit; an argument that random weights do not take.
    """
    if cache_preset is not None and custom_cache_config is not None:
        raise ValueError("cache_preset and custom_cache_config are both given; allowed is one of them.")
    setting = cache_preset or DEFAULT_PRESET if custom_cache_config is None else custom_cache_config
    if config.name_or_path:
        if not Path(config.name_or_path).is_dir():
            raise FileNotFoundError(
                f"the config was read from {config.name_or_path!r}, which is no folder any more; "
                "read it again with HARTForT2IConfig.from_pretrained(path)."
            )
        return EnhancedHARTForT2I.from_pretrained(config.name_or_path, config=config, cache_preset=setting, **kwargs)
    for name in kwargs:
        if name not in ("dtype", "vae"):
            raise ValueError(unknown("argument", name, ["dtype", "vae"]))
    logger.warning(
        "the config was not read from a checkpoint, so the model has random weights; "
        "read it with HARTForT2IConfig.from_pretrained(path) for trained ones."
    )
    model = EnhancedHARTForT2I(config, kwargs.get("vae"), cache_config=setting)
    if kwargs.get("dtype") is not None:
        in_dtype(model, parse_dtype(kwargs["dtype"]))
    return model


__all__ = ["EnhancedHARTForT2I", "create_enhanced_hart_model"]
