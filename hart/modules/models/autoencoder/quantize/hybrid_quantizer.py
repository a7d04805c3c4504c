"""Residual quantisation over stages, with a continuous remainder (HART paper, section 3.1).

Shapes: B pictures, c = code channels, V codes, P = side of the latent map, p = side of a stage's token map.
`f_BcPP` is a latent map, `f_hat` the sum of what the stages have contributed so far.
"""

import random
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hart.modules.models.autoencoder.quantize.phi import build_phi


class HARTHybridQuantizer(nn.Module):
    """Codebook, phi convolutions and the arithmetic that adds token maps up to a latent map.

    Args:
        vocab_size: number of codes V.
        channels: channels c of a code.
        patch_nums: sides of the token maps used for encoding, coarse to fine.
        quant_resi, share_quant_resi: see `HARTAutoEncoderConfig`.
        beta: weight of the commitment loss.
        using_znorm: look codes up by cosine in the plain (not hybrid) paths.
    """

    ema_vocab_hit_SV: Tensor

    def __init__(
        self,
        vocab_size: int,
        channels: int,
        patch_nums: Sequence[int],
        quant_resi: float = 0.5,
        share_quant_resi: int = 4,
        beta: float = 0.25,
        using_znorm: bool = False,
    ):
        super().__init__()
        self.vocab_size = vocab_size
        self.Cvae = channels
        self.v_patch_nums = tuple(patch_nums)
        self.beta = beta
        self.using_znorm = using_znorm
        self.quant_resi = build_phi(channels, quant_resi, share_quant_resi, len(self.v_patch_nums))
        self.embedding = nn.Embedding(vocab_size, channels)
        self.register_buffer("ema_vocab_hit_SV", torch.zeros(len(self.v_patch_nums), vocab_size))

    # -- codes ---------------------------------------------------------------------------------------------------

    def lookup(self, z_BcPP: Tensor, cosine: bool = False) -> Tensor:
        """Index [B, p, p] of the code nearest to every position of a map [B, c, p, p]."""
        z_NC = z_BcPP.permute(0, 2, 3, 1).flatten(0, 2)
        codes_VC = self.embedding.weight
        if cosine:
            idx_N = (F.normalize(z_NC, dim=-1) @ F.normalize(codes_VC, dim=-1).T).argmax(dim=1)
        else:
            distance = z_NC.square().sum(1, keepdim=True) + codes_VC.square().sum(1)
            idx_N = torch.addmm(distance, z_NC, codes_VC.T, alpha=-2).argmin(dim=1)
        return idx_N.view(z_BcPP.shape[0], *z_BcPP.shape[2:])

    def embed_map(self, idx_Bpp: Tensor) -> Tensor:
        """Codes of an index map [B, p, p] as a map [B, c, p, p]."""
        return self.embedding(idx_Bpp).permute(0, 3, 1, 2)

    # -- one stage's contribution --------------------------------------------------------------------------------

    def contribution(self, stage: int, num_stages: int, h_Bcpp: Tensor, side: int) -> Tensor:
        """What a stage's codes add to the accumulated map: phi(bicubic(h)) [B, c, side, side]."""
        if h_Bcpp.shape[-1] != side:
            h_Bcpp = F.interpolate(h_Bcpp, size=(side, side), mode="bicubic")
        phi = self.quant_resi.select(stage, num_stages)  # type: ignore[operator]  # every phi module has it
        return phi(h_Bcpp)

    def get_next_autoregressive_input(
        self, stage: int, num_stages: int, f_hat: Tensor, h_Bcpp: Tensor, patch_nums: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Add a stage's codes to the accumulated map and read the next stage's input off it.

        Args:
            stage: 0-based stage, before the last.
            num_stages: number of stages K of the transformer.
            f_hat: accumulated map [B, c, P, P]; not changed.
            h_Bcpp: the stage's codes [B, c, p, p].
            patch_nums: the transformer's sides; defaults to the quantiser's own.

        Returns:
            The new accumulated map [B, c, P, P] and the next stage's input map [B, c, p_next, p_next].
        """
        patch_nums = patch_nums or self.v_patch_nums
        f_hat = f_hat + self.contribution(stage, num_stages, h_Bcpp, f_hat.shape[-1])
        return f_hat, F.adaptive_avg_pool2d(f_hat, patch_nums[stage + 1])

    # -- encoding ------------------------------------------------------------------------------------------------

    def residual_stages(
        self, f_BcPP: Tensor, patch_nums: Sequence[int], phi_at_last: bool = True, cosine: bool = False
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Greedy residual quantisation, a stage at a time.

        Yields:
            The indices [B, p, p], the remainder before the stage [B, c, P, P] and the stage's contribution.

        Raises:
            ValueError: the sides do not rise, or do not end at the map's own side P.
        """
        check_sides(patch_nums, f_BcPP.shape[-1])
        rest = f_BcPP
        num_stages = len(patch_nums)
        for stage, side in enumerate(patch_nums):
            last = stage == num_stages - 1
            z = rest if last else F.adaptive_avg_pool2d(rest, side)
            idx_Bpp = self.lookup(z, cosine)
            h = self.embed_map(idx_Bpp)
            part = h if last and not phi_at_last else self.contribution(stage, num_stages, h, f_BcPP.shape[-1])
            yield idx_Bpp, rest, part
            rest = rest - part

    def f_to_idxBl_or_fhat(
        self, f_BcPP: Tensor, to_fhat: bool, v_patch_nums: Sequence[int] | None = None
    ) -> list[Tensor]:
        """Indices [B, p*p] of every stage, or with `to_fhat` the accumulated map after every stage."""
        idx_Bl, maps, f_hat = [], [], torch.zeros_like(f_BcPP)
        for idx_Bpp, _, part in self.residual_stages(f_BcPP, self._sides(v_patch_nums), cosine=self.using_znorm):
            f_hat = f_hat + part
            maps.append(f_hat)
            idx_Bl.append(idx_Bpp.flatten(1))
        return maps if to_fhat else idx_Bl

    def f_to_idxBl_and_frest(
        self, f_BcPP: Tensor, v_patch_nums: Sequence[int] | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Training targets of the hybrid model: no phi at the last stage, as in generation.

        Returns:
            The indices of every stage and the remainder [B, P*P, c] before the last stage's codes were subtracted.
        """
        stages = list(self.residual_stages(f_BcPP, self._sides(v_patch_nums), phi_at_last=False))
        _, rest_BcPP, _ = stages[-1]
        return [idx_Bpp.flatten(1) for idx_Bpp, _, _ in stages], rest_BcPP.flatten(2).transpose(1, 2)

    def idxBl_to_fhat(self, idx_Bl: Sequence[Tensor], all_stages: bool = False) -> Tensor | list[Tensor]:
        """Accumulated map [B, c, P, P] of the indices of every stage, or the list of maps after each."""
        sides = [round(idx.shape[1] ** 0.5) for idx in idx_Bl]
        f_hat = self.embedding.weight.new_zeros(len(idx_Bl[0]), self.Cvae, sides[-1], sides[-1])
        maps = []
        for stage, (idx, side) in enumerate(zip(idx_Bl, sides, strict=True)):
            h = self.embed_map(idx.view(-1, side, side))
            f_hat = f_hat + self.contribution(stage, len(sides), h, sides[-1])
            maps.append(f_hat)
        return maps if all_stages else f_hat

    def idxBl_to_var_input(self, idx_Bl: Sequence[Tensor]) -> Tensor:
        """Teacher-forcing inputs [B, L-1, c] of stages 1 .. K-1 from the indices of all stages."""
        sides = [round(idx.shape[1] ** 0.5) for idx in idx_Bl]
        f_hat = self.embedding.weight.new_zeros(len(idx_Bl[0]), self.Cvae, sides[-1], sides[-1])
        inputs = []
        for stage, side in enumerate(sides[:-1]):
            h = self.embed_map(idx_Bl[stage].view(-1, side, side))
            f_hat, next_map = self.get_next_autoregressive_input(stage, len(sides), f_hat, h, sides)
            inputs.append(next_map.flatten(2).transpose(1, 2))
        return torch.cat(inputs, dim=1)

    def forward(
        self, f_BcPP: Tensor, skip_continuous_prob: float = 0.0
    ) -> tuple[Tensor, list[float], Tensor, list[Tensor]]:
        """Quantise with gradients: straight-through latent, usage, loss, indices.

        With probability `1 - skip_continuous_prob` (Python's `random`) the continuous remainder is added, so that
        the decoder learns both kinds of latent.

        Returns:
            f_hat [B, c, P, P] (straight-through), the share of the codebook used in percent, the quantisation loss
            (mean over stages of beta*commitment + codebook), and the indices [B, p*p] of every stage.
        """
        f_detached = f_BcPP.detach()
        f_hat = torch.zeros_like(f_detached)
        loss = f_BcPP.new_zeros(())
        idx_Bl, hits = [], torch.zeros(self.vocab_size, device=f_BcPP.device)
        for idx_Bpp, _, part in self.residual_stages(f_detached, self.v_patch_nums):
            f_hat = f_hat + part
            loss = loss + F.mse_loss(f_hat.detach(), f_BcPP) * self.beta + F.mse_loss(f_hat, f_detached)
            idx_Bl.append(idx_Bpp.flatten(1))
            hits += torch.bincount(idx_Bpp.flatten(), minlength=self.vocab_size)
        if random.random() >= skip_continuous_prob:
            f_hat = f_hat + (f_detached - f_hat.detach())
        out = (f_hat.detach() - f_detached) + f_BcPP
        usage = [float((hits > 0).float().mean() * 100)]
        return out, usage, loss / len(self.v_patch_nums), idx_Bl

    def _sides(self, patch_nums: Sequence[int] | None) -> tuple[int, ...]:
        return tuple(patch_nums) if patch_nums is not None else self.v_patch_nums


def check_sides(sides: Sequence[int], full_side: int) -> None:
    """Raise a ValueError unless there are two or more rising sides that end at the latent map's."""
    if len(sides) < 2 or sides[0] < 1 or any(a >= b for a, b in pairwise(sides)) or sides[-1] != full_side:
        raise ValueError(
            f"patch_nums is {tuple(sides)}; allowed are two or more rising sides that end at {full_side}, the side of "
            "the picture's latent map."
        )
