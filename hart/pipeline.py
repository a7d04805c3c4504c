"""Prompts in, pictures out.

Shapes: N pictures of a call, B pictures of a batch, T text tokens, Dc their width, c code channels, P side of the
latent map, K stages.
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from tqdm.auto import tqdm

from hart.modules.cache_config import HARTCacheConfig
from hart.modules.enhanced_hart import EnhancedHARTForT2I
from hart.modules.models.transformer import HARTForT2I
from hart.modules.models.transformer.generation import paints_one_by_one
from hart.pipeline_folders import model_folder, stored_system_prompt, text_model_folder
from hart.pipeline_output import OUTPUT_TYPES, OutputType, PipelineOutput, Run, StageCallback, as_output, joined
from hart.utils.checkpoint import no_progress_bar
from hart.utils.devices import default_device, default_dtype, parse_device, parse_dtype
from hart.utils.images import need_pillow
from hart.utils.numbers import is_number, is_whole
from hart.utils.prompts import EncodedPrompts, check_prompts, encode_prompts
from hart.utils.seeds import picture_seeds
from hart.utils.text_model import load_text_model
from hart.utils.timing import Stopwatch

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SafetyChecker = Callable[[list[str]], Sequence[bool]]

# Where pictures of a batch are computed together, more at once are faster each; this many fit beside large models.
BATCH_SIZE = 8


@dataclass(frozen=True)
class Settings:
    """How to paint every picture of a call, in the words of `HARTForT2I.autoregressive_infer_cfg`."""

    cfg: float
    num_maskgit_iters: int
    more_smooth: bool
    top_k: int
    top_p: float
    final_stage: int


class HARTPipeline:
    """A HART with its text model and tokenizer.

    Args:
        model: the image model, its tokenizer attached.
        text_model: the language model whose last hidden states the image model reads.
        tokenizer: of the language model.
        system_prompt: text in front of every prompt; None or empty for none.
        safety_checker: called with the prompts of a call; returns for each whether it must not be painted.
        progress: show a bar over stages.
        cache: a preset's name or settings of the stage cache; None leaves the model as it is. A plain model is wrapped
            in an `EnhancedHARTForT2I` that shares its weights, so that its owner keeps one without cache.
    """

    def __init__(
        self,
        model: HARTForT2I,
        text_model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        system_prompt: str | None = None,
        safety_checker: SafetyChecker | None = None,
        progress: bool = True,
        cache: HARTCacheConfig | str | None = None,
    ):
        if safety_checker is not None and not callable(safety_checker):
            given = type(safety_checker).__name__
            raise ValueError(f"safety_checker is a {given}; allowed is a function of a list of prompts, or None.")
        if cache is not None:
            model = model if isinstance(model, EnhancedHARTForT2I) else EnhancedHARTForT2I.from_hart(model)
            model.set_cache_config(cache)
        self.model, self.text_model, self.tokenizer = model, text_model, tokenizer
        self.system_prompt, self.safety_checker, self.progress = system_prompt, safety_checker, progress
        width, expected = text_model.config.get_text_config().hidden_size, model.config.context_dim
        if width != expected:
            raise ValueError(
                f"the text model's hidden size is {width}; the image model reads {expected}: give the text model "
                "that it was trained with."
            )

    @classmethod
    def from_pretrained(
        cls,
        model_path: str | os.PathLike[str] | None = None,
        text_model_path: str | os.PathLike[str] | None = None,
        dtype: torch.dtype | str | None = None,
        device: torch.device | str | None = None,
        system_prompt: str | None = None,
        safety_checker: SafetyChecker | None = None,
        progress: bool = True,
        ema: bool = True,
        cache: HARTCacheConfig | str | None = None,
        decoder_dtype: torch.dtype | str | None = None,
    ) -> "HARTPipeline":
        """Load a checkpoint and its text model from folders on this machine.

        On CPU the text model stays in float32. Codebook and latent map are float32 everywhere.

        Args:
            model_path: a checkpoint's root or `llm` folder; None is the model inside this package.
            text_model_path: folder of the language model; None is `text_encoder` beside the `llm` folder.
            dtype: of the image model; None is what the device is fast in (see `hart.utils.default_dtype`).
            device: None is the first of CUDA, MPS and CPU that this machine has.
            system_prompt: None reads `system_prompt.txt` beside the `llm` folder; "" is none.
            safety_checker, progress: see the class.
            ema: take the averaged weights where the checkpoint has them.
            cache: see the class; `pipeline.model.set_cache_config()` changes it later.
            decoder_dtype: of the decoder that makes pictures of latent maps; None is `dtype`, but float32 on a CPU that
                does not multiply `dtype` fast.

        Raises:
            FileNotFoundError, ValueError: one sentence on what is missing or does not fit.
        """
        device = parse_device(device) if device is not None else default_device()
        dtype = parse_dtype(dtype) if dtype is not None else default_dtype(device)
        folder = model_folder(model_path)
        text_folder = text_model_folder(folder, text_model_path)
        if system_prompt is None:
            system_prompt = stored_system_prompt(folder)
        with no_progress_bar():
            text = load_text_model(text_folder, torch.float32 if device.type == "cpu" else dtype, device)
        model = EnhancedHARTForT2I.from_pretrained(folder, dtype=dtype, ema=ema).to(device)
        if decoder_dtype is not None:
            decoder_dtype = parse_dtype(decoder_dtype)
        else:
            decoder_dtype = dtype if device.type != "cpu" or dtype == default_dtype(device) else torch.float32
        model.vae.decoder.to(decoder_dtype)
        model.vae.post_quant_conv.to(decoder_dtype)
        return cls(model, *text, system_prompt, safety_checker, progress, cache)

    @property
    def device(self) -> torch.device:
        """Where pictures are painted."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """What the image model computes in."""
        return self.model.dtype

    @property
    def default_batch_size(self) -> int:
        """Pictures painted at once: one where every picture is computed by itself, else 8."""
        return 1 if paints_one_by_one(self.device) else BATCH_SIZE

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str],
        num_images_per_prompt: int = 1,
        guidance_scale: float = 4.5,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        seed: int | Sequence[int] | None = None,
        num_maskgit_iters: int = 1,
        more_smooth: bool = False,
        output_type: OutputType = "pil",
        callback_on_stage_end: StageCallback | None = None,
        *,
        batch_size: int | None = None,
        top_k: int = 0,
        top_p: float = 0.0,
        final_stage: int = 0,
        on_long: Literal["error", "truncate"] = "error",
        progress: bool | None = None,
    ) -> PipelineOutput:
        """Paint pictures.

        Args:
            prompt: one text or a list.
            num_images_per_prompt: pictures of each.
            guidance_scale: how strongly the prompt steers; 0 is the prompt without guidance, more is stricter and less
                varied.
            generator: draws the seeds, as in diffusers; a list holds one per picture.
            seed: an int s gives picture i the seed s + i; a list holds one per picture.
            num_maskgit_iters: rounds in which the last stage is painted; more is slower.
            more_smooth: mix codes instead of choosing one: smoother, less detail.
            output_type: "pil", "pt", "np" or "latent".
            callback_on_stage_end: called as (stage index, `StageInfo`) after every stage of every batch.
            batch_size: pictures painted at once; None is `default_batch_size`. On a GPU more is faster per picture and
                takes more memory; on CPU, where each picture is computed by itself, it only takes more memory.
            top_k, top_p, final_stage: see `HARTForT2I.autoregressive_infer_cfg`.
            on_long: "truncate" cuts a prompt of more than T tokens instead of refusing it.
            progress: overrides the pipeline's own switch.

        Raises:
            ValueError: an argument that does not fit; nothing has been painted then.
        """
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"output_type is {output_type!r}; allowed are {', '.join(map(repr, OUTPUT_TYPES))}.")
        if output_type == "pil":
            need_pillow()
        batch_size = self.default_batch_size if batch_size is None else batch_size
        for name, value in (("num_images_per_prompt", num_images_per_prompt), ("batch_size", batch_size)):
            if not is_whole(value) or value < 1:
                raise ValueError(f"{name} is {value!r}; allowed is a whole number from 1.")
        if not is_number(guidance_scale) or not math.isfinite(guidance_scale) or guidance_scale < 0:
            raise ValueError(f"guidance_scale is {guidance_scale!r}; allowed is a finite number from 0.")
        prompts = [text for text in self.checked_prompts(prompt, on_long) for _ in range(num_images_per_prompt)]
        seeds = picture_seeds(len(prompts), seed, generator)
        settings = Settings(float(guidance_scale), num_maskgit_iters, more_smooth, top_k, top_p, final_stage)
        bar = self.progress if progress is None else progress
        with self._counted() as statistics:
            output = self._paint(prompts, seeds, settings, output_type, callback_on_stage_end, batch_size, bar)
            output.cache_statistics = statistics()
        return output

    @contextmanager
    def _counted(self) -> Iterator[Callable[[], dict[str, Any] | None]]:
        """Gives a function that returns what the cache did inside; None where there is no cache."""
        if not self.model.use_cache:
            yield lambda: None
            return
        with self.model.with_cache().separate_statistics() as statistics:
            yield statistics

    def checked_prompts(
        self, prompt: str | Sequence[str], on_long: Literal["error", "truncate"] = "error"
    ) -> list[str]:
        """Return prompts as a list if a call would paint them; costs no model.

        Raises:
            ValueError: no prompt, an empty one, one of more than T tokens under "error", or one that the safety checker
                refuses.
        """
        prompts = [prompt] if isinstance(prompt, str) else prompt
        prompts = check_prompts(prompts, self.tokenizer, self.model.config.context_token, on_long)
        for index, text in enumerate(prompts):
            if not text.strip():
                raise ValueError(f"prompt {index} is empty; allowed is a text.")
        if self.safety_checker is not None:
            refused = _refused(self.safety_checker, prompts)
            if refused:
                raise ValueError(f"the safety checker refuses {len(refused)} of {len(prompts)} prompts: {refused}.")
        return prompts

    def _paint(
        self,
        prompts: list[str],
        seeds: list[int],
        settings: Settings,
        output_type: OutputType,
        callback: StageCallback | None,
        batch_size: int,
        progress: bool,
    ) -> PipelineOutput:
        """Paint batch by batch."""
        num_stages = len(self.model.config.patch_nums)
        num_batches = -(-len(prompts) // batch_size)
        total = Stopwatch(self.device)
        with tqdm(total=num_batches * num_stages, desc="painting", unit="stage", disable=not progress) as bar:
            run = Run(self.device, num_stages, callback, bar)
            parts = []
            for start in range(0, len(prompts), batch_size):
                batch = slice(start, start + batch_size)
                painted = self._paint_batch(prompts[batch], seeds[batch], settings, output_type == "latent", run)
                # Now, not at the end: a long list of pictures would not fit beside the model on a GPU.
                parts.append(as_output(painted.cpu(), output_type))
        images = joined(parts, output_type)
        return PipelineOutput(
            images=images,
            prompts=prompts,
            seeds=seeds,
            timings=run.timings() | {"total": total.lap()},
            latents=images if output_type == "latent" else None,
        )

    def _paint_batch(self, prompts: list[str], seeds: list[int], settings: Settings, latent: bool, run: Run) -> Tensor:
        """Pictures [B, 3, H, W] or latent maps [B, c, P, P] of one batch."""
        run.watch.restart()
        _, mask_BT, position_BT, context_BTD = self.encode(prompts)
        run.text += run.watch.lap()
        f_hat = self.model.autoregressive_infer_cfg(
            len(prompts),
            context_BTD,
            seeds,
            context_position_ids=position_BT,
            context_mask=mask_BT,
            callback_on_stage_end=run.stage_done,
            decode=False,
            **vars(settings),
        )
        if latent:
            return f_hat
        run.watch.restart()
        images = self.model.latent_to_img(f_hat)
        run.decoder += run.watch.lap()
        return images

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> EncodedPrompts:
        """Prompts as the image model reads them.

        Each prompt runs alone: rounding depends on the batch, and a picture must not depend on its neighbours.
        """
        encoded = {
            text: encode_prompts(
                [text], self.text_model, self.tokenizer, self.model.config.context_token, self.system_prompt
            )
            for text in dict.fromkeys(prompts)
        }
        return EncodedPrompts(*(torch.cat(parts) for parts in zip(*(encoded[text] for text in prompts), strict=True)))


def _refused(safety_checker: SafetyChecker, prompts: list[str]) -> list[str]:
    """Prompts that a checker says must not be painted."""
    answers = safety_checker(prompts)
    if not hasattr(answers, "__len__") or len(answers) != len(prompts):
        given = f"{len(answers)} answers" if hasattr(answers, "__len__") else f"a {type(answers).__name__}"
        raise ValueError(f"safety_checker returned {given}; allowed are {len(prompts)} answers, one per prompt.")
    return [text for text, unsafe in zip(prompts, answers, strict=True) if unsafe]


__all__ = ["HARTPipeline", "PipelineOutput"]
