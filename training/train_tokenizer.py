"""Train the embedded model's autoencoder: `python -m training.train_tokenizer`. Resumable.

First the encoder and decoder alone, with the latent held at unit variance per channel (a free latent shrinks until
the codes explain it all and the diffusion head has nothing to add). Then the codebook joins: it follows its codes'
mean (exponential moving average, unused codes restart), half of the pictures are decoded from codes, half from the
continuous latent.
"""

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hart.modules.models.autoencoder import HARTAutoEncoder, HARTAutoEncoderConfig, HARTHybridQuantizer
from hart.modules.models.autoencoder.quantize.phi import PhiConv
from training.budget import add_budget_arguments, budget_from
from training.common import RUNS, add_device_arguments, autocast, chosen_device, draw_places
from training.loop import Training
from training.optimizer import MuonAdamW
from training.stream import TrainingScenes


@dataclass
class Settings:
    quantise_from: float = 0.46  # share of the budget
    batch_size: int = 16
    learning_rate: float = 2e-3
    muon_rate: float = 0.02
    vocab_size: int = 1024
    z_channels: int = 16
    ch: int = 16
    ch_mult: tuple[int, ...] = (1, 2, 4, 8)
    norm_groups: int = 4
    seed: int = 0


class Codebook:
    """Moving averages of what each code stands for; codes nobody used for a while restart at a random vector."""

    def __init__(self, quantizer: HARTHybridQuantizer, decay: float = 0.95):
        self.quantizer, self.decay = quantizer, decay
        self.count_V = quantizer.embedding.weight.new_ones(quantizer.vocab_size)
        self.sum_VC = quantizer.embedding.weight.detach().clone()

    @torch.no_grad()
    def update(self, vectors_NC: Tensor, idx_N: Tensor, weight_N: Tensor) -> None:
        count = torch.zeros_like(self.count_V).index_add_(0, idx_N, weight_N)
        total = torch.zeros_like(self.sum_VC).index_add_(0, idx_N, vectors_NC * weight_N[:, None])
        self.count_V.lerp_(count, 1 - self.decay)
        self.sum_VC.lerp_(total, 1 - self.decay)
        dead = self.count_V < 0.02 * self.count_V.mean()
        fresh = vectors_NC[draw_places(weight_N, len(dead))]
        mean = self.count_V.mean()
        self.sum_VC = torch.where(dead[:, None], fresh * mean, self.sum_VC)
        self.count_V = torch.where(dead, mean, self.count_V)
        self.quantizer.embedding.weight.copy_(self.sum_VC / self.count_V[:, None].clamp_min(1e-6))


def quantise(quantizer: HARTHybridQuantizer, f: Tensor, codebook: Codebook | None) -> tuple[Tensor, Tensor]:
    """Codes' latent map as generation builds it (no phi at the last stage) and the mean squared error over stages."""
    f_hat, loss, seen = torch.zeros_like(f), f.new_zeros(()), []
    target = f.detach()
    for idx, rest, part in quantizer.residual_stages(target, quantizer.v_patch_nums, phi_at_last=False):
        side = idx.shape[-1]
        z = F.adaptive_avg_pool2d(rest.detach(), side).permute(0, 2, 3, 1).flatten(0, 2)
        seen.append((z, idx.flatten(), z.new_full((len(z),), 1 / side)))
        f_hat = f_hat + part
        loss = loss + F.mse_loss(f_hat, target) + 0.25 * F.mse_loss(f_hat.detach(), f)
    if codebook:
        codebook.update(*(torch.cat(parts) for parts in zip(*seen, strict=True)))
    return f_hat, loss / len(seen)


def start_as_identity(model: HARTAutoEncoder) -> None:
    """Kernels that keep a signal's variance, and residual branches that start at zero: gradients reach everything."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            nn.init.zeros_(module.bias)
        if name.endswith(("conv2", "proj_out")):
            nn.init.zeros_(module.weight)
        if isinstance(module, PhiConv):
            nn.init.dirac_(module.weight)


def hidden_kernels(model: HARTAutoEncoder) -> set[str]:
    """Kernels for Muon: all but the first and last layers and the phi convolutions."""
    outer = ("quantize.", "encoder.conv_in", "decoder.conv_out", "quant_conv", "post_quant_conv")
    return {name for name, p in model.named_parameters() if p.ndim == 4 and not name.startswith(outer)}


def unit_variance_penalty(f: Tensor) -> Tensor:
    std, mean = torch.std_mean(f, dim=(0, 2, 3))
    return (std - 1).square().mean() + mean.square().mean()


def reconstruction_loss(out: Tensor, img: Tensor) -> Tensor:
    return F.l1_loss(out, img) + 4 * F.mse_loss(out, img)


def psnr(out: Tensor, img: Tensor) -> float:
    """Mean over pictures of the peak signal-to-noise ratio in dB; pictures in [-1, 1]."""
    mse = (out.clamp(-1, 1) - img).square().mean(dim=(1, 2, 3)) / 4
    return float(-10 * torch.log10(mse.clamp_min(1e-10)).mean())


class TokenizerTraining(Training):
    """A tokenizer in training; see `Training`."""

    digits = 4
    optional = frozenset({"codebook.count", "codebook.sum"})

    def __init__(self, settings: Settings, folder: Path, device: torch.device, compiled: bool = False):
        super().__init__(settings, folder, device, compiled)
        self.codebook: Codebook | None = None
        self.model = build_tokenizer_model(asdict(settings))
        start_as_identity(self.model)
        self.model.to(device, memory_format=torch.channels_last)
        self.model.quantize.embedding.requires_grad_(False)
        self.optimizer = MuonAdamW(
            self.model, hidden_kernels(self.model), settings.muon_rate, settings.learning_rate, betas=(0.9, 0.98)
        )
        self.data = TrainingScenes(settings.seed, big_share=0.6, device=device)
        self.test = self.data.held_out_batch(32)
        self._resume()

    def _resume(self) -> None:
        tensors = self.load()
        if tensors is None:
            return
        if "codebook.sum" in tensors:
            self.codebook = Codebook(self.model.quantize, decay=0.97)
            self.codebook.count_V = tensors.pop("codebook.count").to(self.device)
            self.codebook.sum_VC = tensors.pop("codebook.sum").to(self.device)
        self.model.load_state_dict(tensors)
        self.data.reseed(self.settings.seed, self.step)  # other samples than those seen since the start

    @property
    def module(self) -> nn.Module:
        return self.model

    @property
    def batch_size(self) -> int:
        return self.settings.batch_size

    def tensors(self) -> dict[str, Tensor]:
        tensors = dict(self.model.state_dict())
        if self.codebook:
            tensors |= {"codebook.count": self.codebook.count_V, "codebook.sum": self.codebook.sum_VC}
        return tensors

    def to_compile(self) -> list[nn.Module]:
        return [self.model.encoder, self.model.decoder]

    def latent_to_picture(self, f: Tensor) -> Tensor:
        with autocast(self.device):
            return self.model.decoder(self.model.post_quant_conv(f)).float()

    def latent(self, img: Tensor) -> Tensor:
        with autocast(self.device):
            h = self.model.encoder(img)
        return self.model.quant_conv(h.float())

    def start_codebook(self, num_batches: int = 8, batch_size: int = 32, rounds: int = 40) -> None:
        """k-means of the residuals, by moving averages over a few hundred pictures, before training goes on."""
        weight = self.model.quantize.embedding.weight
        with torch.no_grad():
            latents = [self.latent(self.data.batch(batch_size)) for _ in range(num_batches)]
            flat = torch.cat([f.permute(0, 2, 3, 1).flatten(0, 2) for f in latents])
            chosen = torch.randperm(len(flat), device=self.device)[: len(weight)]
            weight.copy_(flat[chosen] * torch.rand(len(weight), 1, device=self.device))
            self.codebook = Codebook(self.model.quantize, decay=0.8)
            for round_index in range(rounds):
                quantise(self.model.quantize, latents[round_index % len(latents)], self.codebook)
            self.codebook.decay = 0.97

    def backward(self, share: float) -> dict[str, Tensor]:
        if share >= self.settings.quantise_from and self.codebook is None:
            self.start_codebook()
        img = self.data.batch(self.settings.batch_size)
        f = self.latent(img)
        loss = 0.1 * unit_variance_penalty(f)
        losses = {}
        decoded = f
        if self.codebook:
            half = len(f) // 2
            f_hat, code_loss = quantise(self.model.quantize, f, self.codebook)
            straight_through = f + (f_hat - f).detach() + (f_hat - f_hat.detach())
            decoded = torch.cat([straight_through[:half], f[half:]])
            loss = loss + 0.2 * code_loss
            losses["code_mse"] = code_loss
        else:
            decoded = f + torch.randn_like(f) * 0.1 * torch.rand(len(f), 1, 1, 1, device=f.device)
        rec = reconstruction_loss(self.latent_to_picture(decoded), img)
        (loss + rec).backward()
        return losses | {"reconstruction": rec, "penalty": loss}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float | list[float]]:
        self.model.eval()
        f = self.latent(self.test)
        scores: dict[str, float | list[float]] = {
            "psnr_continuous": round(psnr(self.latent_to_picture(f), self.test), 2)
        }
        if self.codebook:
            f_hat, stages = torch.zeros_like(f), []
            for _, _, part in self.model.quantize.residual_stages(
                f, self.model.quantize.v_patch_nums, phi_at_last=False
            ):
                f_hat = f_hat + part
                stages.append(round(psnr(self.latent_to_picture(f_hat), self.test), 2))
            scores["psnr_after_stage"] = stages
            residual = f - f_hat
            scores["residual_std"] = round(float(residual.std()), 3)
            scores["residual_99"] = round(float(residual.abs().flatten()[::7].quantile(0.99)), 3)
        self.model.train()
        return scores


def build_tokenizer_model(settings: dict[str, Any]) -> HARTAutoEncoder:
    """An autoencoder of the size that a run's settings name."""
    names = ("vocab_size", "z_channels", "ch", "ch_mult", "norm_groups")
    return HARTAutoEncoder(
        HARTAutoEncoderConfig(quantizer_type="var_hybrid", **{name: settings[name] for name in names})
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RUNS / "tokenizer", help="folder to write to and go on from")
    parser.add_argument("--quantise_from", type=float, default=Settings.quantise_from, help="share of the budget")
    parser.add_argument("--batch_size", type=int, default=Settings.batch_size)
    parser.add_argument("--compile", action="store_true", help="compile encoder and decoder")
    add_device_arguments(parser)
    add_budget_arguments(parser, steps=650)
    arguments = parser.parse_args()
    device, limits = chosen_device(arguments), budget_from(arguments)
    settings = Settings(quantise_from=arguments.quantise_from, batch_size=arguments.batch_size)
    TokenizerTraining(settings, arguments.out, device, arguments.compile).run(**limits)


if __name__ == "__main__":
    main()
