"""From the prompts of a call to text features: what is refused, what is encoded once, and where the text model waits.

Shapes: N pictures of a call, B pictures of a batch, T text tokens, Dc their width.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hart.modules.models.transformer.inputs import check_tensor
from hart.utils.prompts import EncodedPrompts

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Encode = Callable[[Sequence[str]], EncodedPrompts]
SafetyChecker = Callable[[list[str]], Sequence[bool]]


def prompt_list(name: str, prompts: Any) -> list[str]:
    """Return one text or several as a list.

    Raises:
        ValueError: neither a text nor a list or tuple of texts, or a text that UTF-8 cannot hold.
    """
    texts = [prompts] if isinstance(prompts, str) else prompts
    if not isinstance(texts, list | tuple):
        raise ValueError(f"{name} must be a text or a list of texts, got {_shown(prompts)}.")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"{name} {index} must be a text, got {_shown(text)}.")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{name} {index} must be text that UTF-8 can hold, got {text[error.start]!a} at place {error.start}; "
                "check the encoding that it was read in."
            ) from None
    return list(texts)


def is_blank(text: str) -> bool:
    """Whether a text shows nothing: spaces, and control or formatting characters such as U+200B."""
    return all(unicodedata.category(letter)[0] in "ZC" for letter in text)


def check_not_blank(prompts: Sequence[str]) -> None:
    """Raise a ValueError for the first prompt that shows nothing."""
    for index, text in enumerate(prompts):
        if is_blank(text):
            raise ValueError(f"prompt {index} must be a text that shows something, got {text!a}, which is empty.")


def check_safety(safety_checker: SafetyChecker, prompts: list[str]) -> None:
    """Raise a ValueError that lists the prompts that a checker says must not be painted."""
    answers = safety_checker(prompts)
    if not hasattr(answers, "__len__") or len(answers) != len(prompts):
        given = f"{len(answers)} answers" if hasattr(answers, "__len__") else f"a {type(answers).__name__}"
        raise ValueError(f"safety_checker must return {len(prompts)} answers, one per prompt, got {given}.")
    refused = [text for text, unsafe in zip(prompts, answers, strict=True) if unsafe]
    if refused:
        raise ValueError(f"the safety checker refuses {len(refused)} of {len(prompts)} prompts: {refused}.")


def text_dtype(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """What the text model computes in: on CPU float32, because its features decide everything that follows."""
    return torch.float32 if device.type == "cpu" else dtype


class TextModelHome:
    """Where the text model waits between encodings.

    Args:
        model: the language model.
        offload: let it wait outside the accelerator: on the CPU, or, where it works on the CPU anyway, nowhere.
        reload: reads it again; needed for the latter.

    Raises:
        ValueError: it could neither be moved away nor be read again.
    """

    def __init__(
        self, model: "PreTrainedModel", offload: bool = False, reload: "Callable[[], PreTrainedModel] | None" = None
    ):
        if not isinstance(offload, bool):
            raise ValueError(f"offload_text_model must be True or False, got {offload!r}.")
        if offload and reload is None and model.device.type == "cpu":
            raise ValueError(
                "offload_text_model must be False for a text model that is on the CPU and was not read by "
                "HARTPipeline.from_pretrained, got True: it could not be read again."
            )
        self.offload, self.reload = offload, reload
        self._model: PreTrainedModel | None = model
        self.dtype = model.dtype

    def model(self) -> "PreTrainedModel":
        """The model, read again if it was dropped."""
        if self._model is None:
            assert self.reload is not None
            self._model = self.reload()
        return self._model

    def move(self, device: torch.device, dtype: torch.dtype) -> None:
        """Take the model along to another device and dtype; one that waits is moved when it is needed."""
        self.dtype = text_dtype(device, dtype)
        if not self.offload:
            self.model().to(device, self.dtype)

    @contextmanager
    def at_work(self, device: torch.device) -> "Iterator[PreTrainedModel]":
        """Give the model on a device; then let it wait again."""
        model = self.model()
        if not self.offload:
            yield model
            return
        try:
            yield model.to(device, self.dtype)
        finally:
            if device.type == "cpu":
                self._model = None
            else:
                model.to("cpu")


@dataclass
class CallText:
    """Text features of a call's pictures, batch by batch; each distinct text is encoded once.

    Args:
        prompts: N texts; of pictures that are painted from given features, empty ones.
        negatives: N texts that guidance leads away from; empty for the zeros that the model was trained with. None
            where nobody gave any.
        encode: gives the features of texts.
        given: features of all N pictures instead of prompts.
        given_negatives: the same instead of negative prompts.
    """

    prompts: list[str]
    negatives: list[str] | None
    encode: Encode
    given: EncodedPrompts | None = None
    given_negatives: EncodedPrompts | None = None
    _rows: dict[str, EncodedPrompts] = field(default_factory=dict)

    def __post_init__(self) -> None:
        texts = [] if self.given is not None else self.prompts
        self._needed = Counter([*texts, *(text for text in self.negatives or () if text)])

    def encode_all(self) -> None:
        """Encode every text of the call now."""
        self._encode_missing(list(self._needed))

    def batch(self, part: slice) -> tuple[EncodedPrompts, EncodedPrompts | None]:
        """Features of some pictures, and those that guidance leads away from; None for the trained zeros."""
        wanted = [] if self.given is not None else self.prompts[part]
        negatives = (self.negatives or [])[part]
        self._encode_missing([*wanted, *(text for text in negatives if text)])
        features = _rows(self.given, part) if self.given is not None else self._joined(wanted)
        if self.given_negatives is not None:
            return features, _rows(self.given_negatives, part)
        if not any(negatives):
            return features, None
        zeros = _unconditional(features)
        rows = [self._take(text) if text else zeros for text in negatives]
        return features, stacked(rows)

    def _encode_missing(self, texts: list[str]) -> None:
        missing = [text for text in dict.fromkeys(texts) if text not in self._rows]
        if missing:
            encoded = self.encode(missing)
            self._rows |= {text: _rows(encoded, slice(row, row + 1)) for row, text in enumerate(missing)}

    def _joined(self, texts: list[str]) -> EncodedPrompts:
        return stacked([self._take(text) for text in texts])

    def _take(self, text: str) -> EncodedPrompts:
        """The features of a text, which are dropped when no further picture needs them."""
        self._needed[text] -= 1
        return self._rows[text] if self._needed[text] else self._rows.pop(text)


def check_features(
    name: str, given: Any, mask: Any, positions: Any, shape: tuple[int | str, int, int]
) -> EncodedPrompts:
    """Text features that the caller encoded, with mask and positions.

    Args:
        name: of the argument, in messages.
        given: what `encode_prompt` returned, or a tensor [N, T, Dc].
        mask: [N, T], 1 at tokens of the prompt; needed with a tensor.
        positions: [N, T] positions; None counts the tokens of the mask.
        shape: allowed sizes; a letter stands for any number.

    Raises:
        ValueError: one of them is missing, does not fit, or is given twice.
    """
    if isinstance(given, EncodedPrompts):
        if mask is not None or positions is not None:
            raise ValueError(f"{name}_mask must be left out beside what encode_prompt returned, which holds its own.")
        given, mask, positions = given.context, given.mask, given.position_ids
    check_tensor(name, given, shape, floating=True)
    pictures = (len(given), shape[1])
    check_tensor(f"{name}_mask", mask, pictures, floating=False)
    mask = mask.long()
    positions = mask.cumsum(dim=1) - 1 if positions is None else positions
    check_tensor(f"{name}_position_ids", positions, pictures, floating=False)
    if not torch.isfinite(given).all():
        raise ValueError(f"{name} must hold finite numbers, got some that are not.")
    return EncodedPrompts(torch.zeros_like(mask), mask, positions, given)


def repeated(features: EncodedPrompts, times: int) -> EncodedPrompts:
    """Every row so many times, in the order of `num_images_per_prompt`."""
    return EncodedPrompts(*(part.repeat_interleave(times, dim=0) for part in features))


def _unconditional(like: EncodedPrompts) -> EncodedPrompts:
    """One row as the model was trained without a prompt: zeros at position 0, of which the first token counts."""
    tokens, mask, positions, context = (torch.zeros_like(part[:1]) for part in like)
    mask[:, 0] = 1
    return EncodedPrompts(tokens, mask, positions, context)


def _rows(features: EncodedPrompts, part: slice) -> EncodedPrompts:
    return EncodedPrompts(*(tensor[part] for tensor in features))


def stacked(rows: Sequence[EncodedPrompts]) -> EncodedPrompts:
    """Features of several texts, one below the other."""
    parts: list[Tensor] = [torch.cat(tensors) for tensors in zip(*rows, strict=True)]
    return EncodedPrompts(*parts)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}... ({type(value).__name__})"
