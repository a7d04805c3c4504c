"""Turn prompts into the context that the image model reads: the last hidden states of a language model."""

import logging
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

# A prompt in a message is cut to this many characters.
SHOWN_CHARACTERS = 60

# A call to a fast tokenizer sets padding and truncation on the tokenizer itself, which fails while another thread
# is in such a call ("Already borrowed").
_ONE_CALL_AT_A_TIME = Lock()


class EncodedPrompts(NamedTuple):
    """Encoded prompts, in the order in which the published function returns them.

    Args:
        tokens: [B, T] int64 token ids, padded to T.
        mask: [B, T] int64, 1 at tokens of the prompt and 0 at padding.
        position_ids: [B, T] int64 number of prompt tokens up to here, minus 1: padding on the left has -1, padding
            on the right repeats the last position.
        context: [B, T, Dc] float32 hidden states, padding included (the image model attends to all T).
    """

    tokens: Tensor
    mask: Tensor
    position_ids: Tensor
    context: Tensor


@torch.no_grad()
def encode_prompts(
    prompts: Sequence[str],
    text_model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    max_token_length: int = 300,
    system_prompt: str | None = None,
    use_llm_system_prompt: bool = True,
    on_long: Literal["truncate", "error"] = "truncate",
) -> EncodedPrompts:
    """Encode prompts with a decoder-only language model, all in one forward pass (HART, arXiv 2410.10812).

    Each prompt is tokenised alone and padded to `max_token_length` on the tokenizer's side; the system prompt goes
    in front of the padded row and its hidden states are dropped. Without a system prompt, padding on the left is
    attended by nothing, and what its hidden states hold depends on the version of transformers.

    Args:
        prompts: B texts, at least one.
        text_model: a model from `AutoModel`, without a language-model head.
        tokenizer: its tokenizer, with a padding token.
        max_token_length: T, the `context_token` of the image model.
        system_prompt: the instruction the image model was trained with; None or empty for none.
        use_llm_system_prompt: False leaves the system prompt out even if one is given.
        on_long: what to do with a text of more than T tokens: "truncate" cuts it, as published, and logs a
            warning; "error" refuses it.

    Returns:
        Tensors on the device of `text_model`.

    Raises:
        ValueError: no prompt, one that is not a string, a text that is too long under "error", an unknown
            `on_long`, a length below 1, a tokenizer without padding token, or a model without hidden states.
    """
    prompts = check_prompts(prompts, tokenizer, max_token_length, on_long)
    _warn_of_long("prompt", prompts, tokenizer, max_token_length)
    padded = _tokenize(
        tokenizer, prompts, padding="max_length", max_length=max_token_length, truncation=True, return_tensors="pt"
    )
    tokens_BT = padded["input_ids"].to(text_model.device)
    mask_BT = (tokens_BT != tokenizer.pad_token_id).long()

    input_BS, attention_BS = tokens_BT, mask_BT
    if system_prompt and use_llm_system_prompt:
        report = _refuse_long if on_long == "error" else _warn_of_long
        report("system prompt", [system_prompt], tokenizer, max_token_length)
        front = _tokenize(tokenizer, [system_prompt], max_length=max_token_length, truncation=True, return_tensors="pt")
        front_BS = front["input_ids"].to(tokens_BT.device).expand(len(prompts), -1)
        input_BS = torch.cat([front_BS, tokens_BT], dim=1)
        attention_BS = torch.cat([torch.ones_like(front_BS), mask_BT], dim=1)

    # No position ids: the language model was used with positions that count the padding.
    output = text_model(input_ids=input_BS, attention_mask=attention_BS, use_cache=False)
    hidden_BSD = getattr(output, "last_hidden_state", None)
    if hidden_BSD is None:
        raise ValueError(f"text_model {type(text_model).__name__} returns no last_hidden_state; load it with AutoModel")
    context_BTD = hidden_BSD[:, -max_token_length:].float().contiguous()
    return EncodedPrompts(tokens_BT, mask_BT, mask_BT.cumsum(dim=1) - 1, context_BTD)


def _tokenize(tokenizer: "PreTrainedTokenizerBase", texts: list[str], **settings: Any) -> "BatchEncoding":
    with _ONE_CALL_AT_A_TIME:
        return tokenizer(texts, **settings)


def count_tokens(prompts: list[str], tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Return the tokens of each prompt, none cut off; safe beside `encode_prompts` in another thread."""
    return [len(ids) for ids in _tokenize(tokenizer, prompts, verbose=False)["input_ids"]]


def check_prompts(
    prompts: Sequence[str], tokenizer: "PreTrainedTokenizerBase", max_token_length: int, on_long: str = "truncate"
) -> list[str]:
    """Return prompts as a list if `encode_prompts` would take them; costs no model.

    Raises:
        ValueError: as `encode_prompts`.
    """
    if isinstance(prompts, str):
        raise ValueError(f"prompts is the string {_shown(prompts)}; allowed is a list of strings")
    prompts = list(prompts)
    if not prompts:
        raise ValueError("prompts is empty; at least one prompt is needed")
    for index, prompt in enumerate(prompts):
        if not isinstance(prompt, str):
            raise ValueError(f"prompts[{index}] is {prompt!r}; allowed are strings")
    if max_token_length < 1:
        raise ValueError(f"max_token_length is {max_token_length}; allowed is 1 or more")
    if on_long not in ("truncate", "error"):
        raise ValueError(f"on_long is {on_long!r}; allowed are 'truncate' and 'error'")
    if tokenizer.pad_token_id is None:
        raise ValueError("tokenizer has no pad_token; set one, it marks what is not prompt")
    if on_long == "error":
        _refuse_long("prompt", prompts, tokenizer, max_token_length)
    return prompts


def _refuse_long(kind: str, texts: list[str], tokenizer: "PreTrainedTokenizerBase", max_token_length: int) -> None:
    for text, count in _too_long(texts, tokenizer, max_token_length):
        raise ValueError(f"{kind} {_shown(text)} has {count} tokens; allowed are {max_token_length}")


def _warn_of_long(kind: str, texts: list[str], tokenizer: "PreTrainedTokenizerBase", max_token_length: int) -> None:
    for text, count in _too_long(texts, tokenizer, max_token_length):
        logger.warning("%s %s has %d tokens; it is cut to %d", kind, _shown(text), count, max_token_length)


def _too_long(
    texts: list[str], tokenizer: "PreTrainedTokenizerBase", max_token_length: int
) -> Iterator[tuple[str, int]]:
    """Texts that do not fit, with their tokens."""
    for text, count in zip(texts, count_tokens(texts, tokenizer), strict=True):
        if count > max_token_length:
            yield text, count


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "...")
