"""The measuring methods of `EnhancedHARTForT2I`: calibrate, time, plan."""

import os
from collections.abc import Collection, Sequence
from typing import Any

from torch import Tensor

from hart.modules.cache.config import HARTCacheConfig
from hart.modules.cache.stage_caching import DEFAULT_PRESET
from hart.tuning.calibrate import CalibrationSettings, calibrate, deciding_config, recommended_config
from hart.tuning.model import TunedModel
from hart.tuning.planner import CacheProposal, Judge, PlanSettings, plan
from hart.tuning.speed import BenchmarkSettings, benchmark
from hart.tuning.workload import Encode, Workload, check_count


class TuningMethods:
    """Adds calibration, timing and planning to a model; the model's own settings and statistics stay as they are."""

    def calibrate_thresholds(
        self: TunedModel,
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
            batch_size: pictures painted at once.
            cfg: scale of guidance; the published 4.5 where none is given, whatever the checkpoint's own default is.
            sim_path: save the table of similarities there, for `HARTCacheConfig.sim_path`.
            return_config: put the settings with these thresholds (and the table) under `config`.
            progress: show a bar.

        Returns:
            `attn_threshold`, `mlp_threshold`, and by which `estimator`; per branch (`attn`, `mlp`) mean, std, extremes,
            percentiles and count of the true similarities; means `per_stage`; and what was painted.
        """
        config = self.cache_config or HARTCacheConfig()
        count = check_count("num_samples", config.calibration_samples if num_samples is None else num_samples)
        workload = Workload(self, count, prompts, label_B, context_position_ids, context_mask)
        settings = CalibrationSettings(count, seed, check_count("batch_size", batch_size), cfg, progress)
        deciding = deciding_config(self.cache_config, self.config.patch_nums)
        found = calibrate(type(self).from_hart(self, deciding), workload, settings, sim_path, self.caching.table)
        if return_config:
            base = self.cache_config or HARTCacheConfig.from_preset(DEFAULT_PRESET, patch_nums=self.config.patch_nums)
            found["config"] = recommended_config(base, found)
        return found

    def benchmark_performance(
        self: TunedModel,
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
        workload = Workload(self, count, prompts, label_B, context_position_ids, context_mask)
        settings = BenchmarkSettings(count, check_count("batch_size", batch_size), seed, cfg, warmup, progress)
        cached = type(self).from_hart(self, self.cache_config if self.is_cache_enabled else None)
        return benchmark(type(self).from_hart(self), cached, workload, settings, json_path)

    def plan_cache(
        self: TunedModel,
        max_quality_drop: float | None = None,
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
        max_fidelity_loss: float | None = None,
    ) -> CacheProposal:
        """Search the fastest settings that lose at most so much quality, and verify them on other prompts.

        Takes minutes: thousands of pictures. Settings, statistics and adapted thresholds stay as they are.

        Args:
            max_quality_drop: budget, as a share of the score (0.01: one picture of a hundred shows its prompt no more).
                None: `max_fidelity_loss` decides where the truth is known, else 0.01.
            prompts: at least two; by turns they go to search, verification and confirmation. None: on the embedded
                model search on training captions, the rest on held-out ones; elsewhere unconditional pictures.
            seed: pictures are painted with seed, seed + 1, ...
            num_search, num_verify, num_confirm: pictures of each step. None: for right-or-wrong scores so many that
                the budget is five of them (20 to 500: 500 for one point, 100 for five), for fidelity 48, for latent
                maps 32.
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
            max_fidelity_loss: budget in dB instead of `max_quality_drop`: how much farther pictures may be from the
                true picture of their caption (PSNR in the object's box, mean). On captions of the embedded model only,
                where it is 0.5 if neither is given.

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
            max_fidelity_loss=max_fidelity_loss,
        )
        return plan(self, prompts, settings)
