"""The residual diffusion head (HART, arXiv 2410.10812, section 3.2): sampling, training loss, initialisation.

Shapes: `R` rows with the conditional half first, `n = R / 2`, `c` target channels, `C` condition channels, `W` width.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from hart.modules.diffusion.loss import diffusion_loss
from hart.modules.diffusion.network import DiffusionMLP
from hart.modules.diffusion.noise import given_noise, noise_per_picture, published_noise
from hart.modules.diffusion.schedule import NUM_BASE_STEPS, DiffusionSchedule
from hart.modules.networks.precision import input_dtype

# Residuals are small; the network works on residual / 0.6, which fills -1 to 1.
RESIDUAL_SCALE = 0.6


class ResidualDiffusionHead(nn.Module):
    """Draw what the discrete tokens of the last stage leave over, each token by itself.

    The network runs in the dtype of its parameters; the noisy tokens and all arithmetic on them are float32.

    Args:
        target_channels: c, channels of a residual.
        condition_channels: C, width of the transformer.
        width: W of the network.
        depth: residual blocks of the network.
        num_sampling_steps: which of the 1000 training steps sampling runs, for example `"8"` (see `respaced_steps`).

    Raises:
        ValueError: `num_sampling_steps` is not understood or keeps fewer than 2 steps.
    """

    def __init__(
        self, target_channels: int, condition_channels: int, width: int, depth: int, num_sampling_steps: str
    ) -> None:
        super().__init__()
        self.net = DiffusionMLP(target_channels, condition_channels, width, depth)
        self.target_channels = target_channels
        self._training_schedule = DiffusionSchedule.full()
        self._sampling_schedule = DiffusionSchedule.respaced(str(num_sampling_steps))

    @property
    def num_sampling_steps(self) -> int:
        """Number of denoising steps that `sample` runs."""
        return len(self._sampling_schedule)

    @torch.no_grad()
    def sample(
        self,
        z_RC: Tensor,
        cfg: float = 1.0,
        temperature: float = 1.0,
        noise: Sequence[Tensor] | None = None,
        generators: Sequence[torch.Generator] | None = None,
    ) -> Tensor:
        """Draw the residuals of the conditional half; the other half only guides and is never returned.

        Args:
            z_RC: [R, C] conditions, the conditional half first, each half picture by picture.
            cfg: guidance scale: 0 is the conditional half alone, more pushes away from the unconditional half.
                Exactly 1.0 switches guidance off, as in the published code (it does not mean a scale of one).
            temperature: factor on the noise of every denoising step; less gives residuals with less variety.
            noise: the noise in the published draw order (see `given_noise`).
            generators: one per picture; the global generator is then left alone and a picture does not depend on
                the others of its batch. Without `noise` and `generators` torch's global generator is drawn from.

        Returns:
            [n, c] float32 on the device of z, within -0.6 to 0.6.

        Raises:
            ValueError: R is odd, or `noise` or `generators` do not fit the rows, or both are given.
        """
        if len(z_RC) % 2:
            raise ValueError(f"z has {len(z_RC)} rows; allowed is an even number, the conditional half first")
        guided = cfg not in (0.0, 1.0)
        z_nC = z_RC.unflatten(0, (2, -1)) if guided else z_RC[: len(z_RC) // 2]
        condition_nW = self._embed_condition(z_nC)
        time_SW = self.net.time_embed(torch.tensor(self._sampling_schedule.base_steps, device=z_RC.device))
        noise_Snc = self._noise(len(z_RC) // 2, z_RC.device, cfg != 1.0, noise, generators)

        x_nc = noise_Snc[0]
        for drawn, step in enumerate(reversed(range(self.num_sampling_steps)), start=1):
            predicted_nc, variance_nc = self.net(x_nc, condition_nW + time_SW[step])
            if guided:
                predicted_nc = (1 + cfg) * predicted_nc[0] - cfg * predicted_nc[1]
                variance_nc = variance_nc[0]
            constants = self._sampling_schedule.at_step(step)
            x_nc, log_variance_nc = constants.posterior(x_nc, predicted_nc, variance_nc, clamp=True)
            if step > 0:
                x_nc = x_nc + torch.exp(0.5 * log_variance_nc) * noise_Snc[drawn] * temperature
        return RESIDUAL_SCALE * x_nc

    def loss(
        self,
        target_Rc: Tensor,
        z_RC: Tensor,
        generator: torch.Generator | None = None,
        steps_R: Tensor | None = None,
        noise_Rc: Tensor | None = None,
    ) -> Tensor:
        """Return the training loss, a scalar: the mean over rows of `diffusion_loss` at a random step each.

        Args:
            target_Rc: [R, c] residuals.
            z_RC: [R, C] conditions.
            generator: where steps, then noise are drawn, on the device of z; by default torch's global generator.
            steps_R: [R] int64 steps of 0 to 999 instead of drawn ones.
            noise_Rc: [R, c] float32 noise instead of drawn noise.
        """
        target_Rc = target_Rc.float() / RESIDUAL_SCALE
        device = target_Rc.device
        if steps_R is None:
            steps_R = torch.randint(0, NUM_BASE_STEPS, (len(target_Rc),), generator=generator, device=device)
        if noise_Rc is None:
            noise_Rc = torch.randn(target_Rc.shape, generator=generator, device=device, dtype=torch.float32)
        condition_RW = self._embed_condition(z_RC) + self.net.time_embed(steps_R)
        predict = partial(self.net, condition_nW=condition_RW)
        return diffusion_loss(self._training_schedule, predict, target_Rc, steps_R, noise_Rc).mean()

    def _embed_condition(self, z: Tensor) -> Tensor:
        return self.net.cond_embed(z.to(input_dtype(self.net.cond_embed)))

    def _noise(
        self,
        num_rows: int,
        device: torch.device,
        shared_start: bool,
        noise: Sequence[Tensor] | None,
        generators: Sequence[torch.Generator] | None,
    ) -> Tensor:
        """Return the [S, n, c] noise of one call: the initial latent, then one draw for each step but the last."""
        size = (self.num_sampling_steps, num_rows, self.target_channels)
        if noise is not None and generators is not None:
            raise ValueError("noise and generators are both given; allowed is one of them")
        if noise is not None:
            return given_noise(noise, *size, device)
        if generators is not None:
            return noise_per_picture(generators, *size, device)
        return published_noise(*size, device, shared_start)


def init_diffusion_weights(head: ResidualDiffusionHead) -> None:
    """Give the head its starting weights, so that at first it predicts zero noise whatever it sees.

    Linears are Xavier-uniform with zero bias, the time embedding is normal with standard deviation 0.02, modulations
    and the final projection are zero. Only functions of `nn.init` are used: transformers guards those, so that
    weights which a checkpoint brought stay as they are.
    """
    for module in head.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    net = head.net
    for module in net.time_embed.mlp:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
    for layer in (*net.res_blocks, net.final_layer):
        nn.init.zeros_(layer.adaLN_modulation[1].weight)
        nn.init.zeros_(layer.adaLN_modulation[1].bias)
    nn.init.zeros_(net.final_layer.linear.weight)
    nn.init.zeros_(net.final_layer.linear.bias)
