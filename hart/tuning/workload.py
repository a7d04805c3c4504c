"""What calibration and benchmarks paint: texts given as features, as prompts, or the checkpoint's own samples.

Shapes: N pictures, T text tokens, Dc their width.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hart.embedded import is_embedded, sample_prompts
from hart.tuning.model import TunedModel
from hart.utils.numbers import is_whole
from hart.utils.prompts import EncodedPrompts, encode_prompts
from hart.utils.text_model import TextModel, load_system_prompt, load_text_model

logger = logging.getLogger(__name__)

Encode = Callable[[list[str]], EncodedPrompts]
"""Texts to features, such as `HARTPipeline.encode`."""


class Workload:
    """The texts of N pictures; fewer texts than pictures are used again and again, each time with another seed.

    Args:
        model: the model that paints; the folder that it was read from may have a text model beside it.
        count: N.
        prompts: texts; None paints the embedded model's sample prompts where the model is the embedded one, and
            unconditionally elsewhere.
        label_B, context_position_ids, context_mask: features instead of prompts, see `autoregressive_infer_cfg`.
        encode: reads prompts; None takes the text model beside the checkpoint.

    Raises:
        ValueError: prompts and features are both given, or none of them.
        FileNotFoundError: prompts are given, and there is no text model beside the checkpoint.
    """

    def __init__(
        self,
        model: TunedModel,
        count: int,
        prompts: Sequence[str] | None = None,
        label_B: Tensor | None = None,
        context_position_ids: Tensor | None = None,
        context_mask: Tensor | None = None,
        encode: Encode | None = None,
    ):
        if prompts is not None and label_B is not None:
            raise ValueError("prompts and label_B are both given; allowed is one of them.")
        if isinstance(prompts, str) or (prompts is not None and not prompts):
            raise ValueError(f"prompts is {prompts!r}; allowed is a list of at least one text.")
        self.model, self.count = model, count
        given = {
            "label_B": label_B,
            "context_position_ids": context_position_ids,
            "context_mask": context_mask,
        }
        self.features = {name: value for name, value in given.items() if value is not None}
        folder = _folder(model)
        if prompts is None and label_B is None and is_embedded_model(model):
            prompts = sample_prompts()
        self.prompts = None if prompts is None else list(prompts)
        self.encode = encode
        if self.prompts is not None and encode is None:
            self.encode = _encoder(folder, model)

    @property
    def words(self) -> str:
        """Where the texts come from, for reports."""
        if self.prompts is not None:
            return f"{len(self.prompts)} prompts"
        return "features given" if self.features else "unconditional"

    def arguments(self, start: int, size: int) -> dict[str, Any]:
        """Arguments of `autoregressive_infer_cfg` that describe pictures `start` to `start + size`."""
        if self.encode is not None and self.prompts is not None:
            return self._encoded([self.prompts[i % len(self.prompts)] for i in range(start, start + size)])
        if "label_B" not in self.features:
            return {"label_B": None}
        rows = torch.arange(start, start + size) % len(self.features["label_B"])
        return {name: value[rows.to(value.device)] for name, value in self.features.items()}

    def _encoded(self, prompts: list[str]) -> dict[str, Any]:
        """Each prompt alone: rounding depends on the batch, and a picture must not depend on its neighbours."""
        assert self.encode is not None
        rows = [self.encode([prompt]) for prompt in prompts]
        return {
            "label_B": torch.cat([row.context for row in rows]),
            "context_position_ids": torch.cat([row.position_ids for row in rows]),
            "context_mask": torch.cat([row.mask for row in rows]),
        }


def _encoder(folder: Path | None, model: TunedModel) -> Encode:
    """Reads prompts with the text model beside the checkpoint."""
    text, system_prompt = _text_model(folder, model.device)
    return lambda prompts: encode_prompts(prompts, *text, model.config.context_token, system_prompt)


def check_count(name: str, value: object) -> int:
    """A whole number from 1.

    Raises:
        ValueError: anything else.
    """
    if not is_whole(value) or value < 1:
        raise ValueError(f"{name} is {value!r}; allowed is a whole number from 1.")
    return value


def is_embedded_model(model: TunedModel) -> bool:
    """Whether a model was loaded from inside this package."""
    folder = _folder(model)
    return folder is not None and is_embedded(folder)


def _folder(model: TunedModel) -> Path | None:
    path = Path(model.config.name_or_path) if model.config.name_or_path else None
    return path.resolve() if path is not None and path.is_dir() else None


def _text_model(folder: Path | None, device: torch.device) -> tuple[TextModel, str | None]:
    roots = [] if folder is None else [folder.parent, folder]
    for root in roots:
        if (root / "text_encoder").is_dir():
            return load_text_model(root / "text_encoder", device=device), load_system_prompt(root)
    raise FileNotFoundError(
        f"there is no text model beside the checkpoint {str(folder) if folder else '(the model was built by hand)'!r}; "
        "give label_B, context_position_ids and context_mask from encode_prompts() instead of prompts."
    )
