"""The training loss of residual diffusion: noise prediction plus the variational bound of the learned variance."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from hart.modules.diffusion.schedule import DiffusionSchedule

# Half the width of a bin when the range -1 to 1 is cut into 255 values, as for pixels.
HALF_BIN = 1.0 / 255.0
MIN_PROBABILITY = 1e-12


def diffusion_loss(
    schedule: DiffusionSchedule,
    predict: Callable[[Tensor], tuple[Tensor, Tensor]],
    target_Rc: Tensor,
    steps_R: Tensor,
    noise_Rc: Tensor,
) -> Tensor:
    """Return the loss per row (Nichol and Dhariwal 2021, section 3.1): squared error plus bound in bits per channel.

    The bound teaches the variance only: the predicted noise enters it without gradient.

    Args:
        schedule: the process that `steps_R` counts in.
        predict: the network: noisy [R, c] tokens to predicted noise and variance coefficient, each [R, c] float32.
        target_Rc: [R, c] clean target, float32.
        steps_R: [R] int64 steps.
        noise_Rc: [R, c] float32 noise to mix in.

    Returns:
        [R] float32.
    """
    constants = schedule.at_rows(steps_R)
    noisy_Rc = constants.sqrt_signal * target_Rc + constants.sqrt_noise * noise_Rc
    predicted_noise_Rc, variance_Rc = predict(noisy_Rc)
    mean_Rc, log_variance_Rc = constants.posterior(noisy_Rc, predicted_noise_Rc.detach(), variance_Rc, clamp=False)

    true_mean_Rc = constants.mean_from_clean * target_Rc + constants.mean_from_x * noisy_Rc
    divergence_Rc = gaussian_divergence(true_mean_Rc, constants.log_variance_min, mean_Rc, log_variance_Rc)
    likelihood_Rc = discretized_log_likelihood(target_Rc, mean_Rc, 0.5 * log_variance_Rc)
    bound_Rc = torch.where(steps_R[:, None] == 0, -likelihood_Rc, divergence_Rc) / math.log(2.0)
    return ((noise_Rc - predicted_noise_Rc) ** 2).mean(dim=1) + bound_Rc.mean(dim=1)


def gaussian_divergence(
    mean_p: Tensor, log_variance_p: Tensor | float, mean_q: Tensor, log_variance_q: Tensor
) -> Tensor:
    """Return KL(p || q) of two normal distributions in nats, elementwise."""
    ratio = torch.exp(log_variance_p - log_variance_q)
    distance = (mean_p - mean_q) ** 2 * torch.exp(-log_variance_q)
    return 0.5 * (log_variance_q - log_variance_p - 1.0 + ratio + distance)


def discretized_log_likelihood(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Return the log-probability in nats of the bin around x, elementwise (Ho et al. 2020, section 3.3).

    Bins have width 2/255; the two that reach -1 and 1 are open towards infinity.
    """
    inverse_scale = torch.exp(-log_scale)
    below = _normal_cdf((x - mean - HALF_BIN) * inverse_scale)
    above = _normal_cdf((x - mean + HALF_BIN) * inverse_scale)
    probability = torch.where(x < -0.999, above, torch.where(x > 0.999, 1.0 - below, above - below))
    return probability.clamp(min=MIN_PROBABILITY).log()


def _normal_cdf(x: Tensor) -> Tensor:
    return 0.5 * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))
