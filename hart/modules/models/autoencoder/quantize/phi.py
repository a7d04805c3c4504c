"""The phi convolutions that smooth an upsampled token map before it is added to the accumulated map."""

import numpy as np
from torch import Tensor, nn


class PhiConv(nn.Conv2d):
    """phi(h) = (1-a)*h + a*conv(h) with a 3x3 convolution over c channels."""

    def __init__(self, channels: int, ratio: float):
        super().__init__(channels, channels, 3, padding=1)
        self.ratio = abs(ratio)

    def forward(self, h_BChw: Tensor) -> Tensor:
        return h_BChw.mul(1 - self.ratio) + super().forward(h_BChw).mul_(self.ratio)


class SharedPhi(nn.Module):
    """One convolution for every stage (parameters `qresi.*`)."""

    def __init__(self, channels: int, ratio: float):
        super().__init__()
        self.qresi = PhiConv(channels, ratio)

    def select(self, stage: int, num_stages: int) -> nn.Module:
        return self.qresi


class PartiallySharedPhi(nn.Module):
    """A few convolutions, each serving neighbouring stages (parameters `qresi_ls.{j}.*`)."""

    def __init__(self, channels: int, ratio: float, count: int):
        super().__init__()
        self.qresi_ls = nn.ModuleList(PhiConv(channels, ratio) for _ in range(count))

    def select(self, stage: int, num_stages: int) -> nn.Module:
        return self.qresi_ls[phi_index(stage, num_stages, len(self.qresi_ls))]


class PhiPerStage(nn.ModuleList):
    """One convolution per stage (parameters `{j}.*`)."""

    def select(self, stage: int, num_stages: int) -> nn.Module:
        return self[phi_index(stage, num_stages, len(self))]


class NoPhi(nn.Module):
    """The identity, where `quant_resi` is zero."""

    def select(self, stage: int, num_stages: int) -> nn.Module:
        return nn.Identity()


def phi_index(stage: int, num_stages: int, count: int) -> int:
    """Which of `count` convolutions serves a stage: the first tick nearest to stage/(num_stages-1), in float64."""
    margin = 1 / (3 * count) if count == 4 else 1 / (2 * count)
    ticks = np.linspace(margin, 1 - margin, count)
    return int(np.argmin(np.abs(ticks - stage / (num_stages - 1))))


def build_phi(channels: int, ratio: float, share: int, num_stages: int) -> nn.Module:
    """The phi module for `share` shared convolutions: 0 one per stage, 1 one for all, n that many."""
    if abs(ratio) <= 1e-6:
        return NoPhi()
    if share == 0:
        return PhiPerStage(PhiConv(channels, ratio) for _ in range(num_stages))
    if share == 1:
        return SharedPhi(channels, ratio)
    return PartiallySharedPhi(channels, ratio, share)
