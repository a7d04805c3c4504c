"""What a pipeline has to do with folders, devices and dtypes."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch

from hart.modules.cache.config import HARTCacheConfig
from hart.pipeline.loading import LoadOptions, load_parts, placed, target_of
from hart.pipeline.saving import save_pipeline
from hart.pipeline.text import SafetyChecker, TextModelHome
from hart.utils.hub import HubOptions
from hart.utils.text_model import TextModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from hart.modules.models.transformer import HARTForT2I

StrPath = str | os.PathLike[str]


class CheckpointMixin:
    """Loading, saving and moving of `HARTPipeline`."""

    model: "HARTForT2I"
    tokenizer: "PreTrainedTokenizerBase"
    system_prompt: str | None
    generation_config: dict[str, Any]
    _home: TextModelHome

    @property
    def text_model(self) -> "PreTrainedModel":
        """The language model; read again where it was dropped."""
        return self._home.model()

    @classmethod
    def from_pretrained(
        cls,
        model_path: StrPath | None = None,
        text_model_path: StrPath | None = None,
        dtype: torch.dtype | str | None = None,
        device: torch.device | str | None = None,
        system_prompt: str | None = None,
        safety_checker: SafetyChecker | None = None,
        progress: bool = True,
        ema: bool = True,
        cache: HARTCacheConfig | str | None = None,
        *,
        text_model: TextModel | StrPath | None = None,
        offload_text_model: bool = False,
        torch_dtype: torch.dtype | str | None = None,
        device_map: Any = None,
        attn_implementation: str | None = None,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        subfolder: str = "",
        decoder_dtype: torch.dtype | str | None = None,
    ) -> Self:
        """Load a checkpoint and its text model, from folders or from the hub.

        On CPU the text model stays in float32. Codebook and latent map are float32 everywhere.

        Args:
            model_path: a hub id, a checkpoint's root or its `llm` folder; None is the model inside this package.
            text_model_path: folder or hub id of the language model; None is `text_encoder` beside the `llm` folder, or
                what is known for the hub id.
            dtype: of the image model; None is what the device is fast in (see `hart.utils.default_dtype`).
            device: None is the first of CUDA, MPS and CPU that this machine has.
            system_prompt: None reads `system_prompt.txt` beside the `llm` folder; "" is none.
            safety_checker, progress: see the class; `progress` also shows bars while files are downloaded.
            ema: take the averaged weights where the checkpoint has them; the others are not downloaded.
            cache: see the class; None reads `cache_config.json` beside the `llm` folder, where there is one.
                `pipeline.model.set_cache_config()` changes it later.
            text_model: `text_model_path` under another name, or a `TextModel` that is loaded already.
            offload_text_model: keep the text model off the accelerator but while it encodes; on CPU it is dropped after
                encoding and read again for other prompts.
            torch_dtype: older name of `dtype`.
            device_map: one device, "auto" or {"": device}, as in transformers.
            attn_implementation: None or "sdpa", which is built in.
            revision, cache_dir, token, local_files_only, subfolder: of the hub id, see `hart.utils.hub.HubOptions`.
            decoder_dtype: of the decoder that makes pictures of latent maps; None is `dtype`, but float32 on a CPU
                that does not multiply `dtype` fast.

        Raises:
            FileNotFoundError, ValueError: one sentence on what is missing or does not fit.
        """
        if text_model is not None and text_model_path is not None:
            raise ValueError("text_model must be left out where text_model_path is given, got both.")
        hub = HubOptions(revision, cache_dir, token, local_files_only, subfolder)
        options = LoadOptions(
            dtype,
            device,
            torch_dtype,
            device_map,
            attn_implementation,
            ema,
            progress,
            offload_text_model,
            decoder_dtype,
            hub,
        )
        text = text_model_path if text_model is None else text_model
        parts = load_parts(model_path, text, system_prompt, cache, options)
        parts |= {"safety_checker": safety_checker, "progress": progress}
        return cls(**parts)

    def save_pretrained(self, save_directory: StrPath) -> Path:
        """Save all parts so that `from_pretrained(save_directory)` gives the same pipeline.

        Weights are written as they are in memory; load with the same `dtype` to get them back bit for bit. The system
        prompt, the defaults of a call and, where the cache is on, its settings are saved, too.

        Raises:
            ValueError: other weights in the folder would be read instead.
            OSError: the folder cannot be written to; nothing half-written is left.
        """
        return save_pipeline(self, save_directory)

    def to(self, *where: Any, device: Any = None, dtype: Any = None) -> Self:
        """Move to a device, cast to a dtype, or both, in place: `pipe.to("cuda", torch.float16)`.

        What `from_pretrained` keeps in float32 (codebook, logits; on CPU the text model) stays in it. The picture
        decoder takes the dtype that `from_pretrained` gives it by default.

        Raises:
            ValueError: an unknown device or dtype, or one that this machine lacks.
        """
        device, dtype = target_of(where, device, dtype, self.model.device, self.model.dtype)
        placed(self.model, device, dtype)
        self._home.move(device, dtype)
        return self
