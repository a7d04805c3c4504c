"""Prompts in, pictures out. The parts of a call lie beside this file, in this folder.

Shapes: N pictures of a call, T text tokens, Dc their width, c code channels, P side of the latent map.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Self

import torch
from torch import Tensor

from hart.modules.cache.config import HARTCacheConfig
from hart.modules.enhanced_hart import EnhancedHARTForT2I
from hart.modules.models.transformer import HARTForT2I
from hart.modules.models.transformer.generation import paints_one_by_one
from hart.pipeline.callbacks import TENSOR_INPUTS, StageCallback, StepCallback, stage_callback
from hart.pipeline.checkpoint import CheckpointMixin
from hart.pipeline.inputs import TextArguments, check_components, check_output
from hart.pipeline.output import OutputType, PipelineOutput
from hart.pipeline.painting import Call
from hart.pipeline.settings import call_settings, checked_settings
from hart.pipeline.text import SafetyChecker, TextModelHome, check_not_blank, check_safety, prompt_list, stacked
from hart.utils.prompts import EncodedPrompts, check_prompts, encode_prompts
from hart.utils.seeds import picture_seeds

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Where pictures of a batch are computed together, more at once are faster each; this many fit beside large models.
BATCH_SIZE = 8

OnLong = Literal["error", "truncate"]


class HARTPipeline(CheckpointMixin):
    """A HART with its text model and tokenizer.

    Args:
        model: the image model, its tokenizer attached.
        text_model: the language model whose last hidden states the image model reads.
        tokenizer: of the language model.
        system_prompt: text in front of every prompt; None or empty for none.
        safety_checker: called with the prompts of a call; returns for each whether it must not be painted.
        progress: show a bar over stages.
        cache: a preset's name or settings of the stage cache; None leaves the model as it is. With a cache the model is
            wrapped in an `EnhancedHARTForT2I` that shares its weights; the given model keeps its own settings.
        generation_config: values that a call takes where it is not told otherwise: `guidance_scale`, `top_k`, `top_p`,
            `more_smooth`, `num_maskgit_iters`, `final_stage`.

    Raises:
        ValueError: a part of another kind, or one that does not fit the others.
    """

    def __init__(
        self,
        model: HARTForT2I,
        text_model: "PreTrainedModel | TextModelHome",
        tokenizer: "PreTrainedTokenizerBase",
        system_prompt: str | None = None,
        safety_checker: SafetyChecker | None = None,
        progress: bool = True,
        cache: HARTCacheConfig | str | None = None,
        *,
        generation_config: Mapping[str, Any] | None = None,
    ):
        language_model = text_model.model() if isinstance(text_model, TextModelHome) else text_model
        check_components(model, language_model, tokenizer, safety_checker, progress)
        if system_prompt is not None:
            prompt_list("system_prompt", system_prompt)
        if cache is not None:
            model = EnhancedHARTForT2I.from_hart(model, cache)
        self.model, self.tokenizer = model, tokenizer
        self.system_prompt, self.safety_checker, self.progress = system_prompt, safety_checker, progress
        self.generation_config = checked_settings(generation_config or {})
        self._home = text_model if isinstance(text_model, TextModelHome) else TextModelHome(text_model)

    @property
    def components(self) -> dict[str, Any]:
        """The parts, as the constructor takes them: `HARTPipeline(**pipe.components)` shares all weights."""
        return {
            "model": self.model,
            "text_model": self.text_model,
            "tokenizer": self.tokenizer,
            "system_prompt": self.system_prompt,
            "safety_checker": self.safety_checker,
            "generation_config": dict(self.generation_config),
        }

    def with_model(self, model: HARTForT2I) -> Self:
        """The same pipeline around another model, such as a wrapper with other cache settings, and without a bar."""
        other = copy.copy(self)
        other.model, other.progress = model, False
        return other

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
        prompt: str | Sequence[str] | None = None,
        num_images_per_prompt: int = 1,
        guidance_scale: float | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        seed: int | Sequence[int] | None = None,
        num_maskgit_iters: int | None = None,
        more_smooth: bool | None = None,
        output_type: OutputType = "pil",
        callback_on_stage_end: StageCallback | None = None,
        *,
        batch_size: int | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        final_stage: int | None = None,
        on_long: OnLong = "error",
        progress: bool | None = None,
        negative_prompt: str | Sequence[str] | None = None,
        prompt_embeds: EncodedPrompts | Tensor | None = None,
        prompt_embeds_mask: Tensor | None = None,
        prompt_embeds_position_ids: Tensor | None = None,
        negative_prompt_embeds: EncodedPrompts | None = None,
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = TENSOR_INPUTS,
    ) -> PipelineOutput:
        """Paint pictures.

        Where `guidance_scale`, `num_maskgit_iters`, `more_smooth`, `top_k`, `top_p` or `final_stage` is None,
        `self.generation_config` decides: the checkpoint's own default.

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
            callback_on_stage_end: called as (stage index, `StageInfo`) after every stage of every batch; the call ends
                there if it returns False.
            batch_size: pictures painted at once; None is `default_batch_size`. On a GPU more is faster per picture and
                takes more memory; on CPU, where each picture is computed by itself, it only takes more memory.
            top_k, top_p, final_stage: see `HARTForT2I.autoregressive_infer_cfg`.
            on_long: "truncate" cuts a prompt of more than T tokens instead of refusing it.
            progress: overrides the pipeline's own switch.
            negative_prompt: what guidance leads away from: one text, or one per prompt; None or "" for what the model
                was trained with.
            prompt_embeds: text features instead of a prompt: what `encode_prompt` returned, or a tensor [N, T, Dc].
            prompt_embeds_mask, prompt_embeds_position_ids: [N, T] of such a tensor; None counts positions by the mask.
            negative_prompt_embeds: what `encode_prompt` returned for negative prompts.
            callback_on_step_end: called as diffusers does: (pipeline, stage index, tokens of the stage, {"latents": the
                map so far}); the call ends there if it returns False. The tensors are to look at only.
            callback_on_step_end_tensor_inputs: names of what that dict holds.

        Raises:
            ValueError: an argument that does not fit; nothing has been painted then.
        """
        batch_size = self.default_batch_size if batch_size is None else batch_size
        progress = self.progress if progress is None else progress
        check_output(output_type, num_images_per_prompt, batch_size, progress)
        given = {
            "guidance_scale": guidance_scale,
            "num_maskgit_iters": num_maskgit_iters,
            "more_smooth": more_smooth,
            "top_k": top_k,
            "top_p": top_p,
            "final_stage": final_stage,
        }
        settings = call_settings(given, self.generation_config, self.model.config.patch_nums[-1] ** 2)
        callback = stage_callback(self, callback_on_stage_end, callback_on_step_end, callback_on_step_end_tensor_inputs)
        text = TextArguments(
            prompt,
            negative_prompt,
            prompt_embeds,
            prompt_embeds_mask,
            prompt_embeds_position_ids,
            negative_prompt_embeds,
            on_long,
        ).checked(self, num_images_per_prompt)
        seeds = picture_seeds(len(text.prompts), seed, generator)
        call = Call(self.model, text, seeds, settings, output_type, callback, batch_size, self._home.offload, progress)
        with self._counted() as statistics:
            output = call.paint()
            output.cache_statistics = statistics()
        return output

    @contextmanager
    def _counted(self) -> Iterator[Callable[[], dict[str, Any] | None]]:
        """Gives a function that returns what the cache did inside; None where there is no cache."""
        if not self.model.use_cache:
            yield lambda: None
            return
        with self.model.caching.separate_statistics() as statistics:
            yield statistics

    def checked_prompts(self, prompt: str | Sequence[str] | None, on_long: OnLong = "error") -> list[str]:
        """Return prompts as a list if a call would paint them; costs no model.

        Raises:
            ValueError: no prompt, an empty one, one of more than T tokens under "error", or one that the safety checker
                refuses.
        """
        prompts = prompt_list("prompt", prompt)
        check_prompts(prompts, self.tokenizer, self.model.config.context_token, on_long)
        check_not_blank(prompts)
        if self.safety_checker is not None:
            check_safety(self.safety_checker, prompts)
        return prompts

    def encode_prompt(
        self, prompt: str | Sequence[str], num_images_per_prompt: int = 1, on_long: OnLong = "error"
    ) -> EncodedPrompts:
        """Text features of prompts, to be painted later or more than once: `pipe(prompt_embeds=...)`.

        Returns:
            Features [N, T, Dc] with mask and positions [N, T], so many rows of each prompt.

        Raises:
            ValueError: as a call would.
        """
        check_output("latent", num_images_per_prompt, 1, True)
        prompts = self.checked_prompts(prompt, on_long)
        return self.encode([text for text in prompts for _ in range(num_images_per_prompt)])

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> EncodedPrompts:
        """Prompts as the image model reads them; unlike `encode_prompt`, they are not checked first.

        Each distinct prompt runs once, and alone: rounding depends on the batch, and a picture must not depend on its
        neighbours.
        """
        length, system_prompt = self.model.config.context_token, self.system_prompt
        with self._home.at_work(self.device) as text_model:
            encoded = {
                text: encode_prompts([text], text_model, self.tokenizer, length, system_prompt)
                for text in dict.fromkeys(prompts)
            }
        return stacked([encoded[text] for text in prompts])


__all__ = ["HARTPipeline", "PipelineOutput"]
