"""Arguments of a pipeline and of its calls, checked at the door. Shapes: N pictures, T text tokens, Dc their width."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from hart.modules.models.transformer import HARTForT2I
from hart.pipeline.output import OUTPUT_TYPES
from hart.pipeline.text import CallText, check_features, prompt_list, repeated
from hart.utils.images import need_pillow
from hart.utils.numbers import is_whole
from hart.utils.prompts import EncodedPrompts, check_prompts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def check_components(model: Any, text_model: Any, tokenizer: Any, safety_checker: Any, progress: Any) -> None:
    """Raise a ValueError for the first part that is of another kind or does not fit the others."""
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    for name, part, kind in (
        ("model", model, HARTForT2I),
        ("text_model", text_model, PreTrainedModel),
        ("tokenizer", tokenizer, PreTrainedTokenizerBase),
    ):
        if not isinstance(part, kind):
            raise ValueError(f"{name} must be a {kind.__name__}, got {type(part).__name__}.")
    if safety_checker is not None and not callable(safety_checker):
        given = type(safety_checker).__name__
        raise ValueError(f"safety_checker must be a function of a list of prompts, or None, got {given}.")
    if not isinstance(progress, bool):
        raise ValueError(f"progress must be True or False, got {progress!r}.")
    width, expected = text_model.config.get_text_config().hidden_size, model.config.context_dim
    if width != expected:
        raise ValueError(
            f"text_model must have the hidden size {expected} that the image model reads, got {width}: give the text "
            "model that it was trained with."
        )


def check_output(output_type: Any, num_images_per_prompt: Any, batch_size: Any, progress: Any) -> None:
    """Raise a ValueError for the first of these arguments that is not allowed, an ImportError without Pillow."""
    if not isinstance(output_type, str) or output_type not in OUTPUT_TYPES:
        raise ValueError(f"output_type must be one of {', '.join(map(repr, OUTPUT_TYPES))}, got {output_type!r}.")
    if output_type == "pil":
        need_pillow()
    for name, value in (("num_images_per_prompt", num_images_per_prompt), ("batch_size", batch_size)):
        if not is_whole(value) or value < 1:
            raise ValueError(f"{name} must be a whole number from 1, got {value!r}.")
    if not isinstance(progress, bool):
        raise ValueError(f"progress must be True, False or None, got {progress!r}.")


class PromptReader(Protocol):
    """What of a pipeline turns prompts into text features."""

    model: HARTForT2I
    tokenizer: "PreTrainedTokenizerBase"

    def checked_prompts(self, prompt: Any, on_long: Any = "error") -> list[str]:
        """Prompts that a call would paint."""

    def encode(self, prompts: Sequence[str]) -> EncodedPrompts:
        """Their features."""


@dataclass(frozen=True)
class TextArguments:
    """What a call says about text, in the words of `HARTPipeline.__call__`."""

    prompt: Any
    negative_prompt: Any = None
    prompt_embeds: Any = None
    prompt_embeds_mask: Any = None
    prompt_embeds_position_ids: Any = None
    negative_prompt_embeds: Any = None
    on_long: Any = "error"

    def checked(self, pipeline: PromptReader, times: int) -> CallText:
        """The text of every picture, `times` pictures of each prompt.

        Raises:
            ValueError: something is missing, given twice or does not fit.
        """
        if self.prompt is not None and self.prompt_embeds is not None:
            raise ValueError("prompt must be left out where prompt_embeds is given, got both.")
        if self.negative_prompt is not None and self.negative_prompt_embeds is not None:
            raise ValueError("negative_prompt must be left out where negative_prompt_embeds is given, got both.")
        given = None
        if self.prompt_embeds is None:
            prompts = pipeline.checked_prompts(self.prompt, self.on_long)
        else:
            given = self._features(pipeline)
            prompts = [""] * len(given.context)
        negatives, given_negatives = self._negatives(pipeline, len(prompts)), self._negative_features(pipeline, prompts)
        return CallText(
            [text for text in prompts for _ in range(times)],
            None if negatives is None else [text for text in negatives for _ in range(times)],
            pipeline.encode,
            None if given is None else repeated(given, times),
            None if given_negatives is None else repeated(given_negatives, times),
        )

    def _features(self, pipeline: PromptReader) -> EncodedPrompts:
        config = pipeline.model.config
        shape = ("N", config.context_token, config.context_dim)
        mask, positions = self.prompt_embeds_mask, self.prompt_embeds_position_ids
        return check_features("prompt_embeds", self.prompt_embeds, mask, positions, shape)

    def _negatives(self, pipeline: PromptReader, count: int) -> list[str] | None:
        """One negative prompt per prompt; empty where there is none."""
        if self.negative_prompt is None:
            return None
        texts = prompt_list("negative_prompt", self.negative_prompt)
        if isinstance(self.negative_prompt, str):
            texts *= count
        if len(texts) != count:
            raise ValueError(f"negative_prompt must be a text or {count} texts, one per prompt, got {len(texts)}.")
        written = [text for text in texts if text]
        if written:
            check_prompts(written, pipeline.tokenizer, pipeline.model.config.context_token, self.on_long)
        return texts

    def _negative_features(self, pipeline: PromptReader, prompts: list[str]) -> EncodedPrompts | None:
        if self.negative_prompt_embeds is None:
            return None
        if not isinstance(self.negative_prompt_embeds, EncodedPrompts):
            given = type(self.negative_prompt_embeds).__name__
            raise ValueError(f"negative_prompt_embeds must be what encode_prompt returned, got {given}.")
        config = pipeline.model.config
        shape = ("N", config.context_token, config.context_dim)
        features = check_features("negative_prompt_embeds", self.negative_prompt_embeds, None, None, shape)
        rows = len(features.context)
        if rows not in (1, len(prompts)):
            raise ValueError(f"negative_prompt_embeds must have 1 or {len(prompts)} rows, got {rows}.")
        return features if rows == len(prompts) else repeated(features, len(prompts))
