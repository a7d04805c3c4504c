"""Arguments of one painting, and what is wrong with them.

Shapes: B pictures, T text tokens, Dc their width, N last-stage tokens.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hart.modules.diffusion.noise import check_noise
from hart.modules.models.transformer.seeds import Seed
from hart.modules.networks.sampling import tokens_to_decode
from hart.utils.numbers import is_number, is_whole

if TYPE_CHECKING:
    from hart.modules.models.transformer.configuration import HARTForT2IConfig
    from hart.modules.models.transformer.hart_transformer_t2i import HARTForT2I


@dataclass(frozen=True)
class GenerationInputs:
    """Arguments of `HARTForT2I.autoregressive_infer_cfg`, in its order."""

    B: int
    label_B: Tensor | None
    g_seed: Seed
    cfg: float
    top_k: int
    top_p: float
    more_smooth: bool
    context_position_ids: Tensor | None
    context_mask: Tensor | None
    final_stage: int
    num_maskgit_iters: int
    orders: Tensor | None = None
    diffusion_noise: Sequence[Tensor] | None = None
    callback_on_stage_end: Callable[[int, Any], Any] | None = None
    negative_context: Tensor | None = None
    negative_position_ids: Tensor | None = None
    negative_mask: Tensor | None = None

    def picture(self, index: int) -> "GenerationInputs":
        """The same for one picture of the batch; its seed stays with the batch."""
        return replace(
            self,
            B=1,
            label_B=_row(self.label_B, index),
            context_position_ids=_row(self.context_position_ids, index),
            context_mask=_row(self.context_mask, index),
            orders=_row(self.orders, index),
            negative_context=_row(self.negative_context, index),
            negative_position_ids=_row(self.negative_position_ids, index),
            negative_mask=_row(self.negative_mask, index),
        )


def _row(value: Tensor | None, index: int) -> Tensor | None:
    return None if value is None else value[index : index + 1]


def check_inputs(model: "HARTForT2I", inputs: GenerationInputs) -> None:
    """Raise a ValueError that names the argument, what it is and what is allowed."""
    config = model.config
    if not is_whole(inputs.B) or inputs.B < 1:
        raise ValueError(f"B is {inputs.B!r}; allowed is a whole number of pictures from 1.")
    if not is_number(inputs.cfg) or not 0 <= inputs.cfg < math.inf:
        raise ValueError(f"cfg is {inputs.cfg!r}; allowed is a finite guidance scale from 0.")
    if not is_whole(inputs.top_k) or inputs.top_k < 0:
        raise ValueError(f"top_k is {inputs.top_k!r}; allowed is a whole number from 0 (0 is the published rule).")
    if not is_number(inputs.top_p) or not 0 <= inputs.top_p <= 1:
        raise ValueError(f"top_p is {inputs.top_p!r}; allowed is 0 to 1 (0 switches it off).")
    last = config.patch_nums[-1] ** 2
    if not is_whole(inputs.num_maskgit_iters) or not 1 <= inputs.num_maskgit_iters <= last:
        raise ValueError(f"num_maskgit_iters is {inputs.num_maskgit_iters!r}; allowed are 1 to {last}.")
    _check_text(config, inputs)
    _check_orders(inputs, last)
    _check_noise(model, inputs)
    if inputs.callback_on_stage_end is not None and not callable(inputs.callback_on_stage_end):
        given = type(inputs.callback_on_stage_end).__name__
        raise ValueError(f"callback_on_stage_end is a {given}; allowed is a function of (index, info) or None.")


def _check_text(config: "HARTForT2IConfig", inputs: GenerationInputs) -> None:
    text_shape = (inputs.B, config.context_token, config.context_dim)
    for names in (
        ("label_B", "context_position_ids", "context_mask"),
        ("negative_context", "negative_position_ids", "negative_mask"),
    ):
        features, positions, mask = (getattr(inputs, name) for name in names)
        _check_if_given(names[0], features, text_shape, floating=True)
        _check_if_given(names[1], positions, text_shape[:2], floating=False)
        _check_if_given(names[2], mask, text_shape[:2], floating=False)
        if features is None:
            continue
        if not torch.isfinite(features).all():
            raise ValueError(
                f"{names[0]} holds entries that are not finite; allowed are the text model's finite features."
            )
        if positions is None:
            raise ValueError(f"{names[1]} is None; allowed is an integer tensor {list(text_shape[:2])}.")
        if mask is None and config.averages_text:
            raise ValueError(
                f"{names[2]} is None; allowed is a mask {list(text_shape[:2])}, since this flavour averages over text."
            )


def _check_orders(inputs: GenerationInputs, num_tokens: int) -> None:
    _check_if_given("orders", inputs.orders, (inputs.B, num_tokens), floating=False)
    if inputs.orders is None:
        return
    counted = torch.arange(num_tokens, device=inputs.orders.device)
    if not (inputs.orders.sort(dim=1).values == counted).all():
        raise ValueError(f"orders has a row with repeats; allowed is a permutation of 0 to {num_tokens - 1} per row.")


def _check_noise(model: "HARTForT2I", inputs: GenerationInputs) -> None:
    noise = inputs.diffusion_noise
    if noise is None:
        return
    if not isinstance(noise, list | tuple) or not all(isinstance(part, Tensor) for part in noise):
        raise ValueError(f"diffusion_noise is a {type(noise).__name__}; allowed is a list of tensors or None.")
    if inputs.final_stage != 0:
        return
    # A round takes the initial latent and one tensor per step, of which the very last has no effect.
    steps, counts = (
        model.diffloss.num_sampling_steps,
        tokens_to_decode(model.config.patch_nums[-1], inputs.num_maskgit_iters),
    )
    needed = len(counts) * (steps + 1) - 1
    if len(noise) < needed:
        raise ValueError(
            f"diffusion_noise has {len(noise)} tensors; allowed are {needed} or more, "
            f"for {len(counts)} rounds of {steps} denoising steps."
        )
    channels = model.config.latent_channels
    for index, part in enumerate(noise[:needed]):
        rows = inputs.B * counts[index // (steps + 1)]
        check_noise(f"diffusion_noise[{index}]", part, rows, channels)


def check_tensor(name: str, value: Any, shape: tuple[int | str, ...], floating: bool) -> None:
    """Raise a ValueError that names an argument unless it is a tensor of this shape and kind.

    Args:
        name: of the argument.
        value: what was given.
        shape: allowed sizes; a letter stands for any size.
        floating: whether floating-point numbers are asked for; else integers or bools.
    """
    kind = "floating-point" if floating else "integer or bool"
    if not isinstance(value, Tensor) or value.is_floating_point() != floating or not _has_shape(value, shape):
        given = f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else repr(type(value).__name__)
        allowed = ", ".join(map(str, shape))
        raise ValueError(f"{name} is {given}; allowed is a {kind} tensor of shape [{allowed}].")


def _has_shape(value: Tensor, shape: tuple[int | str, ...]) -> bool:
    sizes = zip(value.shape, shape, strict=False)
    return value.ndim == len(shape) and all(isinstance(wanted, str) or size == wanted for size, wanted in sizes)


def _check_if_given(name: str, value: Any, shape: tuple[int | str, ...], floating: bool) -> None:
    if value is not None:
        check_tensor(name, value, shape, floating)
