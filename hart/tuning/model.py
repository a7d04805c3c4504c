"""What calibration, timing and planning need of a model, so that they import none."""

import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from hart.modules.cache.config import HARTCacheConfig
from hart.modules.cache.similarity_table import Calibration
from hart.modules.cache.stage_caching import CacheSetting, StageCaching


class ModelSizes(Protocol):
    """The configuration of a model.

    `patch_nums` are the sides of its token maps, `name_or_path` is the folder that it was read from, `context_token`
    the number of text tokens.
    """

    patch_nums: Sequence[int]
    depth: int
    context_token: int
    name_or_path: str


class TunedModel(Protocol):
    """A text-to-image model with a stage cache, such as `EnhancedHARTForT2I`, whose methods say more."""

    caching: StageCaching
    calibration: bool
    sim_path: str | os.PathLike[str] | None
    diffloss: Any

    @property
    def config(self) -> ModelSizes: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def cache_config(self) -> HARTCacheConfig | None: ...

    @property
    def is_cache_enabled(self) -> bool: ...

    @property
    def recorded_similarities(self) -> Calibration: ...

    @classmethod
    def from_hart(cls, model: Any, cache_config: CacheSetting = None) -> Self: ...

    def set_cache_config(self, cache_config: CacheSetting) -> None: ...

    def get_cache_statistics(self) -> dict[str, Any]: ...

    def reset_cache_statistics(self) -> None: ...

    def autoregressive_infer_cfg(
        self,
        B: int,
        label_B: Tensor | None,
        g_seed: Any = None,
        cfg: float = 1.5,
        *,
        context_position_ids: Tensor | None = None,
        context_mask: Tensor | None = None,
        callback_on_stage_end: Callable[[int, Any], None] | None = None,
        decode: bool = True,
    ) -> Tensor: ...

    def state_dict(self) -> dict[str, Any]: ...

    def latent_to_img(self, f_hat: Tensor) -> Tensor: ...


__all__ = ["ModelSizes", "TunedModel"]
