"""HART with the stage cache: the same model, whose blocks consult a cache before they compute.

What is decided and how is in `hart/modules/cache`; this file joins it to the model.
"""

import copy
import logging
import os
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from hart.modules.cache.branch_cache import BranchCache
from hart.modules.cache.config import HARTCacheConfig
from hart.modules.cache.registry import unknown
from hart.modules.cache.similarity_table import Calibration
from hart.modules.cache.stage_caching import DEFAULT_PRESET, CacheSetting, StageCaching, Upsampling
from hart.modules.cache.upsample import upsample
from hart.modules.models.autoencoder import HARTAutoEncoder
from hart.modules.models.transformer import HARTForT2I, HARTForT2IConfig
from hart.modules.models.transformer.loading import in_dtype
from hart.tuning.methods import TuningMethods
from hart.utils.devices import parse_dtype

logger = logging.getLogger(__name__)

SHARED = ("_parameters", "_buffers", "_attached")
"""What wrappers of one model have in common beside its modules: weights and the tokenizer."""


class EnhancedHARTForT2I(TuningMethods, HARTForT2I):
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

    def __init__(self, config: HARTForT2IConfig, vae: HARTAutoEncoder | None = None, cache_config: CacheSetting = None):
        super().__init__(config, vae)
        self.caching = StageCaching(config.patch_nums, config.depth, counting=True)
        if cache_config is not None:
            self.set_cache_config(cache_config)

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
    def from_hart(cls, model: HARTForT2I, cache_config: CacheSetting = None) -> Self:
        """Wrap a loaded model; both share weights and tokenizer, and nothing else.

        A model of a subclass of this class keeps its class.
        """
        kind = type(model) if isinstance(model, cls) else cls
        wrapper = kind.__new__(kind)
        wrapper.__setstate__({name: value if name in SHARED else _own(value) for name, value in vars(model).items()})
        wrapper.caching = StageCaching(model.config.patch_nums, model.config.depth, counting=True)
        if cache_config is not None:
            wrapper.set_cache_config(cache_config)
        return wrapper

    # -- switching ---------------------------------------------------------------------------------------------------

    def set_cache_config(self, cache_config: CacheSetting) -> None:
        """Use these settings from the next picture on; a name means that preset on this model's pyramid.

        Raises:
            ValueError: the settings do not fit this model's stages or layers, or ask for a table of similarities that
                is not there or was measured in another way; the old ones stay in force.
        """
        self.caching.set_config(cache_config)

    def enable_cache(self, cache_config: CacheSetting = None) -> None:
        """Switch reuse on: with these settings, those set before, or `original-cache`."""
        self.caching.enable(cache_config)

    def disable_cache(self) -> None:
        """Compute everything; the settings are kept for `enable_cache()`."""
        self.caching.disable()

    @property
    def is_cache_enabled(self) -> bool:
        """Whether the next picture may reuse anything."""
        return self.caching.is_enabled

    @property
    def cache_config(self) -> HARTCacheConfig | None:
        """A copy of the settings, in force or kept; `set_cache_config` changes them."""
        return self.caching.config

    # -- painting ----------------------------------------------------------------------------------------------------

    def new_cache(self, rounds: int = 1, beside: BranchCache | None = None) -> BranchCache:
        """The cache of one generation, made from the settings at its start.

        Args:
            rounds: in which the last stage is decoded, `num_maskgit_iters`.
            beside: the cache of the first picture that is painted at the same time; None where this is the first.
        """
        return self.caching.new_cache(self.blocks, rounds, beside, self._own_upsampling)

    @property
    def _own_upsampling(self) -> Upsampling | None:
        """`enhanced_feature_interpolate` where a subclass overrides it."""
        if type(self).enhanced_feature_interpolate is EnhancedHARTForT2I.enhanced_feature_interpolate:
            return None
        return lambda x_RChw, mode, side: self.enhanced_feature_interpolate(x_RChw, mode, side=side)

    def enhanced_feature_interpolate(
        self, x_RChw: Tensor, mode: str | None = None, *, side: int | None = None
    ) -> Tensor:
        """A kept feature map [R, C, h, w] upsampled to a later stage; the cache upsamples with this method.

        A subclass that overrides it changes every reuse. Nothing is assumed of an override, so each branch's map is
        then kept and upsampled by itself.

        Args:
            x_RChw: the map; an override gives [R, C, side, side] of its dtype.
            mode: an interpolation mode; None takes the configured one.
            side: the later stage's; None for the next larger one of `patch_nums`.

        Raises:
            ValueError: unknown mode, or no side is given and no stage is larger.
        """
        if mode is None:
            mode = (self.cache_config or HARTCacheConfig()).interpolation_mode
        return upsample(x_RChw, self._next_side(x_RChw.shape[-1]) if side is None else side, mode)

    def _next_side(self, side: int) -> int:
        larger = [other for other in self.config.patch_nums if other > side]
        if not larger:
            raise ValueError(
                f"x has side {side}; allowed without a side given are sides below {max(self.config.patch_nums)}, "
                "the last of patch_nums."
            )
        return larger[0]

    @property
    def recorded_similarities(self) -> Calibration:
        """What `calibration = True` has recorded since it was set, or since the last reset."""
        return self.caching.recorded

    # -- statistics and files ----------------------------------------------------------------------------------------

    def get_cache_statistics(self) -> dict[str, Any]:
        """What the cache did since the last reset, as plain numbers (see the guide for every key)."""
        return self.caching.get_statistics()

    def reset_cache_statistics(self) -> None:
        """Forget counts, similarities (those that `calibration` recorded, too) and adapted thresholds."""
        self.caching.reset_statistics()

    def save_cache_config(self, path: str | os.PathLike) -> None:
        """Save the settings as JSON.

        Raises:
            ValueError: none are set.
        """
        config = self.cache_config
        if config is None:
            raise ValueError("cache_config is None; set one with set_cache_config() before saving it.")
        config.to_json(path)

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


def _own(value: Any) -> Any:
    """A container's shallow copy; anything else as it is."""
    return copy.copy(value) if isinstance(value, dict | set | list) else value


__all__ = ["EnhancedHARTForT2I", "create_enhanced_hart_model"]
