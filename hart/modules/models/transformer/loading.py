"""Transformer and tokenizer from a checkpoint in the published layout."""

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from hart.modules.models.autoencoder import HARTAutoEncoder, HARTAutoEncoderWithDisc, HARTAutoEncoderWithDiscConfig
from hart.modules.models.transformer.configuration import HARTForT2IConfig
from hart.utils.checkpoint import check_state, find_weights, no_progress_bar, read_state
from hart.utils.devices import check_attention, either_dtype, single_device
from hart.utils.hub import HubOptions, checkpoint_folder
from hart.utils.paths import check_model_type, tokenizer_folder, transformer_folder

# Buffers that published checkpoints carry (the mask is 380 MB at 1024 pixels) and nothing here needs.
FUNCTIONS_OF_THE_CONFIG = ("lvl_1L", "attn_bias_for_masking")


def load_transformer(
    cls: type, parent_from_pretrained: Callable, path: str | os.PathLike, args: tuple, kwargs: dict[str, Any]
) -> Any:
    """Build a transformer from a checkpoint and attach its tokenizer; see `HARTForT2I.from_pretrained`."""
    ema, vae = kwargs.pop("ema", True), kwargs.pop("vae", None)
    kwargs["dtype"] = either_dtype(kwargs.pop("dtype", None), kwargs.pop("torch_dtype", None))
    device = single_device(kwargs.pop("device_map", None))
    check_attention(kwargs.get("attn_implementation"))
    folder = transformer_folder(checkpoint_folder(path, HubOptions.taken_from(kwargs), ema)).absolute()
    config = kwargs.pop("config", None) or HARTForT2IConfig.from_pretrained(folder)
    config.name_or_path = str(folder)
    file = find_weights(folder, ema)
    state = read_state(file)
    adopt_tokenizer_sizes(config, state)
    check_state(cls, config, state, file, ignored=FUNCTIONS_OF_THE_CONFIG)
    state = {key: value for key, value in state.items() if key not in FUNCTIONS_OF_THE_CONFIG}
    with no_progress_bar():
        result = parent_from_pretrained(None, *args, config=config, state_dict=state, **kwargs)
    model = result[0] if isinstance(result, tuple) else result
    model.name_or_path = model.config.name_or_path = str(folder)  # transformers left the text "None"
    if vae is None and (config.vae_path or (folder.parent / "tokenizer").is_dir()):
        vae = load_tokenizer(config)
    if vae is not None:
        model.attach_tokenizer(vae)
    if device is not None:
        model.to(device)
    return result


def load_tokenizer(config: HARTForT2IConfig, dtype: torch.dtype = torch.float32) -> HARTAutoEncoder:
    """The tokenizer of a transformer's config, in evaluation mode.

    In float32 unless told otherwise: the codebook and what is added up with it decide every later stage.

    Raises:
        FileNotFoundError: the config knows no folder, or there is no tokenizer beside it.
        ValueError: its weights do not fit; the sentence names file and key.
    """
    if not config.vae_path and not config.name_or_path:
        raise FileNotFoundError(
            "vae_path is None and the config was not read from a folder, so there is no tokenizer to paint with; "
            "read the config with HARTForT2IConfig.from_pretrained(path), set vae_path, or pass vae=."
        )
    folder = tokenizer_folder(config.name_or_path or ".", config.vae_path)
    check_model_type(folder, HARTAutoEncoderWithDiscConfig.model_type)
    shell = HARTAutoEncoderWithDisc.from_pretrained(folder, dtype=dtype)
    return shell.vae.eval()


def adopt_tokenizer_sizes(config: HARTForT2IConfig, state: dict[str, Tensor]) -> None:
    """The tokenizer's channels and codebook size, which the published config leaves out, stand in the weights."""
    if "word_embed.weight" in state and "head.weight" in state:
        config.latent_channels = state["word_embed.weight"].shape[-1]
        config.codebook_size = state["head.weight"].shape[0]


def in_dtype(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Cast a transformer in place; what `from_pretrained` keeps in float32 stays there, the tokenizer as it is."""
    for name, module in model.named_children():
        if name not in model._keep_in_fp32_modules_strict:
            module.to(dtype)
    for parameter in model.parameters(recurse=False):
        parameter.data = parameter.data.to(dtype)
