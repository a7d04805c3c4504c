"""Noise schedule of the residual diffusion: 1000 base steps, of which sampling keeps a few.

Tables are NumPy float64 and rounded to float32 where they meet a tensor. They are neither buffers nor tensors: a
buffer outside the state dict would come back as uninitialised memory after a load on the meta device.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NUM_BASE_STEPS = 1000
MAX_BETA = 0.999

FloatTable = NDArray[np.float64]


def cosine_betas(num_steps: int = NUM_BASE_STEPS) -> FloatTable:
    """Return the [num_steps] noise rates of the cosine schedule (Nichol and Dhariwal 2021, equation 17)."""
    signal = np.cos((np.arange(num_steps + 1) / num_steps + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.minimum(1.0 - signal[1:] / signal[:-1], MAX_BETA)


def respaced_steps(num_base_steps: int, spacing: str) -> list[int]:
    """Choose which base steps a shorter process keeps.

    Args:
        num_base_steps: length of the base process.
        spacing: either comma-separated counts such as `"8"` or `"10,10"`, which cut the base process into as many
            sections of equal length and keep that many evenly spread steps of each; or `"ddimN"`, which keeps N
            steps at a whole-number distance from step 0 on.

    Returns:
        The kept base steps, ascending, without repeats.

    Raises:
        ValueError: the text is neither form, a count is below 1 or above its section, or no whole-number distance
            gives N steps.
    """
    if spacing.startswith("ddim"):
        return _evenly_strided(num_base_steps, spacing)
    counts = [_parse_count(text, spacing) for text in spacing.split(",")]
    shortest, num_longer = divmod(num_base_steps, len(counts))
    steps: list[int] = []
    start = 0
    for section, count in enumerate(counts):
        size = shortest + (section < num_longer)
        if count > size:
            raise ValueError(
                f"num_sampling_steps {spacing!r} asks for {count} steps out of a section of {size}; "
                f"a section can give at most as many steps as it has"
            )
        stride = (size - 1) / (count - 1) if count > 1 else 1.0
        position = 0.0
        # The position is summed up, not multiplied out: its rounding decides ties such as 142.5 as published.
        for _ in range(count):
            steps.append(start + round(position))
            position += stride
        start += size
    return steps


def _evenly_strided(num_base_steps: int, spacing: str) -> list[int]:
    count = _parse_count(spacing.removeprefix("ddim"), spacing)
    for stride in range(1, num_base_steps):
        if len(range(0, num_base_steps, stride)) == count:
            return list(range(0, num_base_steps, stride))
    raise ValueError(
        f"num_sampling_steps {spacing!r} has no whole-number distance that keeps {count} of {num_base_steps} steps; "
        f"use a divisor of {num_base_steps} or the plain form {str(count)!r}"
    )


def _parse_count(text: str, spacing: str) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ValueError(
            f"num_sampling_steps is {spacing!r}; allowed are comma-separated counts of at least 1 such as '8' or "
            f"'10,10', or 'ddimN' such as 'ddim50'"
        )
    return int(text)


class StepConstants(NamedTuple):
    """The factors of a step (Ho et al. 2020, section 2), with `A` the signal, `A'` that of the step before (1 at 0).

    `x = sqrt_signal * clean + sqrt_noise * noise` makes a clean token noisy, `clean = clean_from_x * x -
    clean_from_noise * noise` undoes it, and the token one step less noisy is normal around `mean_from_clean * clean +
    mean_from_x * x`. Its log-variance lies between that of the true posterior, `log_variance_min` (at step 0, where
    the variance is zero, that of step 1), and log beta, `log_variance_max`.
    """

    sqrt_signal: float | Tensor
    sqrt_noise: float | Tensor
    clean_from_x: float | Tensor
    clean_from_noise: float | Tensor
    mean_from_clean: float | Tensor
    mean_from_x: float | Tensor
    log_variance_min: float | Tensor
    log_variance_max: float | Tensor

    def posterior(self, x: Tensor, predicted_noise: Tensor, variance: Tensor, clamp: bool) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of the token one step less noisy, as the network's prediction has it.

        Args:
            x: [n, c] noisy tokens, float32.
            predicted_noise: [n, c] float32.
            variance: [n, c] float32 variance coefficient: -1 is the smallest variance, 1 the largest.
            clamp: keep the clean token that the prediction implies within -1 to 1.
        """
        clean = self.clean_from_x * x - self.clean_from_noise * predicted_noise
        if clamp:
            clean = clean.clamp(-1.0, 1.0)
        mean = self.mean_from_clean * clean + self.mean_from_x * x
        fraction = (variance + 1) / 2
        return mean, fraction * self.log_variance_max + (1 - fraction) * self.log_variance_min


@dataclass(frozen=True, eq=False)
class DiffusionSchedule:
    """A diffusion process, one entry of each table per step.

    Args:
        betas: [S] noise rates.
        base_steps: [S] the step of the base process that each entry stands for, which is what the network is told.
    """

    betas: FloatTable
    base_steps: Sequence[int]

    @classmethod
    def full(cls) -> "DiffusionSchedule":
        """Return the process of 1000 steps that the head is trained on."""
        return cls(cosine_betas(), range(NUM_BASE_STEPS))

    @classmethod
    def respaced(cls, spacing: str) -> "DiffusionSchedule":
        """Return the shorter process that sampling runs, with the noise levels of the kept base steps.

        Raises:
            ValueError: `spacing` is not understood (see `respaced_steps`) or keeps a single step. One step would
                start from noise at a level where almost none is left (base step 0), and its clipped variance is
                undefined, so there is nothing sensible to return.
        """
        steps = respaced_steps(NUM_BASE_STEPS, spacing)
        if len(steps) < 2:
            raise ValueError(f"num_sampling_steps {spacing!r} keeps a single step; sampling needs at least 2 steps")
        signal = np.cumprod(1.0 - cosine_betas())[steps]
        return cls(1.0 - signal / np.append(1.0, signal[:-1]), tuple(steps))

    def __len__(self) -> int:
        return len(self.betas)

    @cached_property
    def signal(self) -> FloatTable:
        """[S] share of the signal's variance that is left, the cumulative product of `1 - beta` ("alpha bar")."""
        return np.cumprod(1.0 - self.betas, dtype=np.float64)

    def at_step(self, step: int) -> StepConstants:
        """Return the constants of one step as plain numbers, for sampling, where all rows are at the same step."""
        return StepConstants(*self.table[step].tolist())

    def at_rows(self, steps_R: Tensor) -> StepConstants:
        """Return the constants of each row's own step as [R, 1] float32 tensors, for training.

        Args:
            steps_R: [R] int64 steps of this process.
        """
        # Kept per device: a copy at every call would make the host wait for the device.
        if (table := self._on_device.get(steps_R.device)) is None:
            table = torch.from_numpy(self.table.astype(np.float32)).to(steps_R.device)
            self._on_device[steps_R.device] = table
        return StepConstants(*table[steps_R].split(1, dim=1))

    @cached_property
    def _on_device(self) -> dict[torch.device, Tensor]:
        """`table` in float32, by device."""
        return {}

    @cached_property
    def table(self) -> FloatTable:
        """[S, 8] the constants of every step, in the order of the fields of `StepConstants`."""
        signal = self.signal
        noise = 1.0 - signal
        previous_signal = np.append(1.0, signal[:-1])
        variance = self.betas * (1.0 - previous_signal) / noise
        columns = (
            np.sqrt(signal),
            np.sqrt(noise),
            np.sqrt(1.0 / signal),
            np.sqrt(1.0 / signal - 1.0),
            self.betas * np.sqrt(previous_signal) / noise,
            (1.0 - previous_signal) * np.sqrt(1.0 - self.betas) / noise,
            np.log(np.append(variance[1], variance[1:])),
            np.log(self.betas),
        )
        return np.stack(columns, axis=1)
