"""Pictures as a network sees them: a perceptual distance, and the distance of two sets of pictures.

The network is the encoder of the checkpoint's own tokenizer, which is always at hand. Distances follow LPIPS (Zhang et
al., CVPR 2018, equation 1, all channels weighted alike) and FID (Heusel et al., NeurIPS 2017), but their numbers are
not those of the networks used there: compare them within one checkpoint only.

Shapes: N pictures, C channels of a level.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hart.modules.models.autoencoder import HARTAutoEncoder

LEVELS = 3


@dataclass(frozen=True)
class Features:
    """What the encoder gave for N pictures: normalised maps [N, C, h, w] per level, and their pooled values [N, F]."""

    maps: list[Tensor]
    pooled: NDArray[np.float64]


@torch.no_grad()
def picture_features(vae: HARTAutoEncoder, pictures: NDArray[np.uint8]) -> Features:
    """Activations at the first three resolutions of the encoder, on the CPU.

    Args:
        vae: the tokenizer.
        pictures: [N, H, W, 3] uint8; all go through the encoder at once.
    """
    weight = vae.encoder.conv_in.weight
    x_NChw = torch.from_numpy(pictures).permute(0, 3, 1, 2).to(weight.device, weight.dtype)
    x_NChw = vae.encoder.conv_in(x_NChw / 127.5 - 1)
    maps = []
    for level in vae.encoder.down[:LEVELS]:
        x_NChw = level(x_NChw)
        maps.append(x_NChw.float().cpu())
    pooled = torch.cat([level.mean((2, 3)) for level in maps], dim=1).double().numpy()
    return Features([level / level.norm(dim=1, keepdim=True).clamp_min(1e-8) for level in maps], pooled)


def feature_distances(one: Features, other: Features) -> list[float]:
    """Distance of each of N pictures to its partner: squared, summed over channels, mean over places and levels."""
    by_level = [(a - b).square().sum(1).mean((1, 2)) for a, b in zip(one.maps, other.maps, strict=True)]
    return [float(value) for value in torch.stack(by_level).mean(0)]


def frechet_distance(one: NDArray[np.float64], other: NDArray[np.float64]) -> float | None:
    """Frechet distance of two sets [N, F], taken as Gaussian; None for fewer than two pictures.

    It is biased upwards for few pictures: compare sets of the same size only.
    """
    if min(len(one), len(other)) < 2:
        return None
    from scipy.linalg import eigh, eigvalsh

    covariance, covariance_other = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    values, vectors = eigh(covariance)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    # The trace of the root of a product is that of the root of a symmetric matrix with the same eigenvalues.
    cross = np.sqrt(eigvalsh(root @ covariance_other @ root).clip(0)).sum()
    means = np.square(one.mean(0) - other.mean(0)).sum()
    return float(max(0.0, means + np.trace(covariance) + np.trace(covariance_other) - 2 * cross))
