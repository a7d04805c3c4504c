"""The residual diffusion head: what the discrete tokens of the last stage leave over, drawn token by token."""

from hart.modules.diffusion.head import ResidualDiffusionHead, init_diffusion_weights
from hart.modules.diffusion.schedule import DiffusionSchedule, respaced_steps

__all__ = ["DiffusionSchedule", "ResidualDiffusionHead", "init_diffusion_weights", "respaced_steps"]
