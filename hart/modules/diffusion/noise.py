"""Where the noise of residual diffusion comes from: given tensors, one generator per picture, or the global one."""

from collections.abc import Sequence

import torch
from torch import Tensor


def given_noise(noise: Sequence[Tensor], num_steps: int, num_rows: int, channels: int, device: torch.device) -> Tensor:
    """Stack noise that the caller recorded or drew.

    Args:
        noise: the initial latent, then one tensor per denoising step, each [>= num_rows, channels]; rows beyond
            `num_rows` (the unconditional half) and the tensor of the last step have no effect and may be absent.
        num_steps: number of denoising steps.
        num_rows: rows of the conditional half.
        channels: channels of a row.
        device: where the result is needed.

    Returns:
        [num_steps, num_rows, channels] float32.

    Raises:
        ValueError: too few tensors, or one of another shape.
    """
    if len(noise) < num_steps:
        raise ValueError(
            f"noise has {len(noise)} tensors; {num_steps} denoising steps need the initial latent and one tensor for "
            f"each step but the last, {num_steps} in all (one more is allowed and ignored)"
        )
    for index, tensor in enumerate(noise[:num_steps]):
        check_noise(f"noise[{index}]", tensor, num_rows, channels)
    return torch.stack([tensor[:num_rows].to(device, torch.float32) for tensor in noise[:num_steps]])


def check_noise(name: str, tensor: Tensor, num_rows: int, channels: int) -> None:
    """Raise a ValueError that names a tensor of noise unless it is [num_rows or more, channels]."""
    if tensor.ndim != 2 or tensor.shape[0] < num_rows or tensor.shape[1] != channels:
        raise ValueError(f"{name} has shape {list(tensor.shape)}; allowed is [{num_rows} or more, {channels}].")


def noise_per_picture(
    generators: Sequence[torch.Generator], num_steps: int, num_rows: int, channels: int, device: torch.device
) -> Tensor:
    """Draw each picture's noise from its own generator, on that generator's device.

    A picture gets the same noise whatever else is in the batch: one draw of [num_steps, rows per picture, channels].

    Args:
        generators: one per picture, in the order of the rows.
        num_steps: number of denoising steps.
        num_rows: rows of the conditional half, picture by picture.
        channels: channels of a row.
        device: where the result is needed.

    Returns:
        [num_steps, num_rows, channels] float32.

    Raises:
        ValueError: the rows cannot be shared out evenly among the generators.
    """
    if not generators or num_rows % len(generators):
        raise ValueError(
            f"generators has {len(generators)} entries for {num_rows} rows; "
            f"allowed is one generator per picture, so that the rows divide evenly"
        )
    shape = (num_steps, num_rows // len(generators), channels)
    draws = [
        torch.randn(shape, generator=generator, device=generator.device, dtype=torch.float32).to(device)
        for generator in generators
    ]
    return torch.cat(draws, dim=1)


def published_noise(num_steps: int, num_rows: int, channels: int, device: torch.device, guided: bool) -> Tensor:
    """Draw from torch's global generator, in the order and the shapes of the published code.

    That code draws for the unconditional half as well (except for the initial latent under guidance) and at the
    last step too; both are drawn here and dropped, so that a seed gives the published numbers.

    Args:
        num_steps: number of denoising steps.
        num_rows: rows of the conditional half.
        channels: channels of a row.
        device: where to draw.
        guided: whether the initial latent is shared by both halves.

    Returns:
        [num_steps, num_rows, channels] float32.
    """
    initial = torch.randn(num_rows if guided else 2 * num_rows, channels, device=device, dtype=torch.float32)
    later = [torch.randn(2 * num_rows, channels, device=device, dtype=torch.float32) for _ in range(num_steps)]
    draws = [initial, *later]
    return torch.stack([draw[:num_rows] for draw in draws[:num_steps]])
