"""The parts of a pipeline, read from folders or from the hub."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hart.modules.cache.config import HARTCacheConfig
from hart.modules.enhanced_hart import EnhancedHARTForT2I
from hart.modules.models.transformer import HARTForT2I
from hart.modules.models.transformer.loading import in_dtype
from hart.pipeline.folders import model_folder, stored_system_prompt, text_model_folder
from hart.pipeline.settings import read_generation_config
from hart.pipeline.text import TextModelHome, text_dtype
from hart.utils.devices import (
    DTYPES,
    check_attention,
    default_device,
    default_dtype,
    either_dtype,
    parse_device,
    parse_dtype,
    single_device,
)
from hart.utils.hub import HubOptions
from hart.utils.text_model import TextModel, load_text_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CACHE_CONFIG_FILE = "cache_config.json"

StrPath = str | os.PathLike[str]


@dataclass(frozen=True)
class LoadOptions:
    """Arguments of `HARTPipeline.from_pretrained` that say where from, where to and in which precision."""

    dtype: torch.dtype | str | None = None
    device: torch.device | str | None = None
    torch_dtype: torch.dtype | str | None = None
    device_map: Any = None
    attn_implementation: str | None = None
    ema: bool = True
    progress: bool = True
    offload_text_model: bool = False
    decoder_dtype: torch.dtype | str | None = None
    hub: HubOptions = field(default_factory=HubOptions)

    def target(self) -> tuple[torch.device, torch.dtype]:
        """Device and dtype, resolved.

        Raises:
            ValueError: an unknown one, or one that is given under two names.
        """
        mapped = single_device(self.device_map)
        if mapped is not None and self.device is not None:
            raise ValueError(f"device_map must be left out where device is given, got {self.device_map!r}.")
        check_attention(self.attn_implementation)
        for name in ("ema", "progress", "offload_text_model"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise ValueError(f"{name} must be True or False, got {value!r}.")
        device = parse_device(self.device) if self.device is not None else mapped or default_device()
        dtype = either_dtype(self.dtype, self.torch_dtype)
        return device, parse_dtype(dtype) if dtype is not None else default_dtype(device)


def load_parts(
    model_path: StrPath | None,
    text_model: TextModel | StrPath | None,
    system_prompt: str | None,
    cache: HARTCacheConfig | str | None,
    options: LoadOptions,
) -> dict[str, Any]:
    """Arguments of `HARTPipeline` that a checkpoint decides; see `HARTPipeline.from_pretrained`."""
    device, dtype = options.target()
    folder = model_folder(model_path, options.hub, options.ema, options.progress)
    root = folder.resolve().parent
    if system_prompt is None:
        system_prompt = stored_system_prompt(folder)
    generation_config = read_generation_config(folder)
    if cache is None and (root / CACHE_CONFIG_FILE).is_file():
        cache = HARTCacheConfig.from_json(root / CACHE_CONFIG_FILE)
    text, tokenizer, reload = _text_model(folder, model_path, text_model, options, device, dtype)
    model = EnhancedHARTForT2I.from_pretrained(folder, dtype=dtype, ema=options.ema)
    return {
        "model": placed(model, device, dtype, options.decoder_dtype),
        "text_model": TextModelHome(text, options.offload_text_model, reload),
        "tokenizer": tokenizer,
        "system_prompt": system_prompt,
        "cache": cache,
        "generation_config": generation_config,
    }


def _text_model(
    folder: Path,
    model_path: StrPath | None,
    given: TextModel | StrPath | None,
    options: LoadOptions,
    device: torch.device,
    dtype: torch.dtype,
) -> "tuple[PreTrainedModel, Any, Callable[[], PreTrainedModel] | None]":
    """The language model, its tokenizer, and what reads the model again."""
    dtype = text_dtype(device, dtype)
    waits = torch.device("cpu") if options.offload_text_model else device
    if isinstance(given, TextModel):
        return given.model.to(waits, dtype), given.tokenizer, None
    where = text_model_folder(folder, given, model_path, options.hub, options.progress)
    text = load_text_model(where, dtype, waits, attn_implementation=options.attn_implementation)
    return text.model, text.tokenizer, lambda: load_text_model(where, dtype, waits).model


def placed(
    model: HARTForT2I,
    device: torch.device,
    dtype: torch.dtype,
    decoder_dtype: torch.dtype | str | None = None,
) -> HARTForT2I:
    """Move and cast an image model in place; codebook and latent map stay in float32 everywhere.

    Args:
        model: the image model.
        device: where to.
        dtype: of the transformer.
        decoder_dtype: of the picture decoder; None is `dtype`, but float32 on a CPU that does not multiply `dtype`
            fast.
    """
    model.to(device)
    in_dtype(model, dtype)
    if decoder_dtype is not None:
        decoder_dtype = parse_dtype(decoder_dtype)
    else:
        decoder_dtype = dtype if device.type != "cpu" or dtype == default_dtype(device) else torch.float32
    for part in (model.vae.decoder, model.vae.post_quant_conv):
        part.to(decoder_dtype)
    return model


def target_of(
    where: tuple[Any, ...], device: Any, dtype: Any, old_device: torch.device, old_dtype: torch.dtype
) -> tuple[torch.device, torch.dtype]:
    """Device and dtype that `.to()` was told, by place or by name; what it was not told stays.

    Raises:
        ValueError: an unknown one, or two of a kind.
    """
    for given in where:
        names_dtype = isinstance(given, torch.dtype) or str(given).removeprefix("torch.") in DTYPES
        if (dtype if names_dtype else device) is not None:
            raise ValueError(f"to() must be given one device and one dtype at most, got {given!r} beside another.")
        dtype, device = (given, device) if names_dtype else (dtype, given)
    target = old_device if device is None else parse_device(device)
    return target, old_dtype if dtype is None else parse_dtype(dtype)
