"""Train the embedded transformer, its diffusion head and text model: `python -m training.train_transformer`. Resumable.

Most steps train the coarse stages only, which hold what the picture shows and cost a sixth of a full pass; every few
steps train all stages, with most last-stage tokens left out as HART's own training does, and the diffusion head.

Input codes are disturbed and the targets of later stages follow (self-correction): the model learns to repair its
own mistakes instead of trusting perfect inputs.
"""

import argparse
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from hart.modules.models.autoencoder import HARTHybridQuantizer
from hart.modules.models.transformer import HARTForT2I, HARTForT2IConfig
from hart.modules.models.transformer.training import join_stages, stage_causal_mask
from hart.modules.networks.stage import Stage
from training.common import EMBEDDED, RUNS, Log, MuonAdamW, cosine_schedule, load_checkpoint, save_checkpoint
from training.data import held_out_scenes
from training.latents import encode, load_latents, load_shipped_tokenizer
from training.text import CONTEXT_DIM, CONTEXT_TOKENS, build_text_model, build_tokenizer


@dataclass
class Settings:
    steps: int = 1450
    full_every: int = 4
    coarse_stages: int = 6
    coarse_batch: int = 64
    full_batch: int = 16
    kept_tokens: int = 56
    muon_rate: float = 0.02
    adam_rate: float = 2e-3
    drop_prompt: float = 0.1
    disturb: float = 0.4
    soft: float = 0.0
    big: float = 1 / 6
    depth: int = 6
    embed_dim: int = 256
    num_heads: int = 4
    diff_width: int = 256
    diff_depth: int = 3
    seed: int = 0


class Codes(NamedTuple):
    """Teacher-forcing material of a batch: inputs of stages 1.., target codes and the latents they are nearest to per
    stage, the last remainder."""

    x_in: Tensor
    targets: list[Tensor]
    wanted: list[Tensor]
    rest: Tensor


@torch.no_grad()
def disturbed_codes(quantizer: HARTHybridQuantizer, f: Tensor, num_stages: int, disturb: float) -> Codes:
    """Residual codes of latents [B, c, P, P] in which the inputs are noisy and the targets know it.

    Args:
        quantizer: the tokenizer's.
        f: latents.
        num_stages: how many stages to go.
        disturb: largest noise on what an input code is looked up for, in standard deviations of the stage.
    """
    sides, rest, f_hat, inputs, targets, wanted = quantizer.v_patch_nums, f, torch.zeros_like(f), [], [], []
    amount = disturb * torch.rand(len(f), 1, 1, 1) * (torch.rand(len(f), 1, 1, 1) < 0.7)
    for stage, side in enumerate(sides[:num_stages]):
        z = F.adaptive_avg_pool2d(rest, side)
        targets.append(quantizer.lookup(z).flatten(1))
        wanted.append(z.flatten(2).transpose(1, 2))
        if stage == num_stages - 1:
            break
        noisy = quantizer.lookup(z + torch.randn_like(z) * amount * z.std())
        part = quantizer.contribution(stage, len(sides), quantizer.embed_map(noisy), f.shape[-1])
        f_hat, rest = f_hat + part, rest - part
        inputs.append(F.adaptive_avg_pool2d(f_hat, sides[stage + 1]).flatten(2).transpose(1, 2))
    return Codes(torch.cat(inputs, dim=1), targets, wanted, rest.flatten(2).transpose(1, 2))


@torch.no_grad()
def soft_targets(codebook: Tensor, wanted: Tensor, idx: Tensor, soft: float) -> Tensor:
    """Probabilities [N, V] of codes by their squared distance to the wanted latents [N, c]; `idx` itself for `soft` 0.

    A one-hot target says nothing about how alike codes are, and colour and object share codes at the coarse stages:
    near codes are near-right. Half of the weight stays on the nearest code.

    Args:
        soft: temperature, as a share of the mean squared distance to the nearest code.
    """
    if soft == 0:
        return idx
    hard = F.one_hot(idx, len(codebook)).float()
    distance = torch.cdist(wanted, codebook).square()
    nearest = distance.gather(1, idx[:, None])
    return 0.5 * hard + 0.5 * torch.softmax((nearest - distance) / (soft * nearest.mean()), dim=1)


class TransformerTraining:
    def __init__(self, settings: Settings, run: str):
        torch.manual_seed(settings.seed)
        self.settings, self.folder = settings, RUNS / run
        self.vae = load_shipped_tokenizer()
        self.tokenizer = build_tokenizer()
        self.text = build_text_model(len(self.tokenizer))
        self.model = HARTForT2I(model_config(settings, self.vae.config), vae=self.vae)
        torch.nn.init.normal_(self.model.word_embed.weight, std=0.5)  # latents are small; tokens should not be
        self.all = torch.nn.ModuleDict({"hart": self.model, "text": self.text})
        self.optimizer = MuonAdamW(
            self.all, hidden_matrices(self.all), settings.muon_rate, settings.adam_rate, betas=(0.9, 0.97)
        )
        self.latents, self.scenes = load_latents(self.vae)
        big = torch.tensor([scene.size == "big" for scene in self.scenes])
        self.weights = torch.where(big, settings.big / big.sum(), (1 - settings.big) / (~big).sum())
        self.rng = np.random.default_rng(settings.seed)
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.log, self.step = Log(self.folder), 0

    # -- one pass ----------------------------------------------------------------------------------------------------

    def encode_text(self, captions: list[str], drop: bool) -> tuple[Tensor, Tensor]:
        """Embedded text [B, T, C] with gradients, some prompts dropped, and positions [B, T]."""
        tokens = self.tokenizer(captions, padding="max_length", max_length=CONTEXT_TOKENS, return_tensors="pt")
        mask = tokens["attention_mask"]
        context = self.text(input_ids=tokens["input_ids"], attention_mask=mask).last_hidden_state.float()
        position_BT = mask.cumsum(1) - 1
        if drop:
            dropped = torch.rand(len(captions)) < self.settings.drop_prompt
            context = context.masked_fill(dropped[:, None, None], 0)
            position_BT = position_BT.masked_fill(dropped[:, None], 0)
        return self.model.embed_text(context), position_BT

    def stage_losses(self, f: Tensor, captions: list[str], num_stages: int, train: bool) -> tuple[Tensor, Tensor]:
        """Cross-entropy [num_stages] and the diffusion head's loss (zero for a coarse pass)."""
        codes = disturbed_codes(self.model.vae.quantize, f, num_stages, self.settings.disturb if train else 0.0)
        full = num_stages == len(self.model.config.patch_nums)
        kept = self.kept_positions(len(f), num_stages) if full else None
        with torch.autocast("cpu", dtype=torch.bfloat16):
            text, position = self.encode_text(captions, drop=train)
            x, rope, levels = join_stages(self.model, text, position, codes.x_in, num_stages, kept)
            x = self.model.run_blocks(x, Stage(0, rope=rope, mask=stage_causal_mask(levels)))[:, CONTEXT_TOKENS - 1 :]
        logits = self.model.get_logits(x.float(), self.model.head_nm.condition(text.float()))
        targets = codes.targets if kept is None else [*codes.targets[:-1], codes.targets[-1].gather(1, kept)]
        sizes = [target.shape[1] for target in targets]
        wanted = codes.wanted if kept is None else [*codes.wanted[:-1], take_tokens(codes.wanted[-1], kept)]
        codebook, soft = self.model.vae.quantize.embedding.weight, self.softness() if train else 0.0
        losses = torch.stack(
            [
                F.cross_entropy(part.flatten(0, 1), soft_targets(codebook, z.flatten(0, 1), target.flatten(), soft))
                for part, target, z in zip(logits.split(sizes, dim=1), targets, wanted, strict=True)
            ]
        )
        if kept is None:
            return losses, torch.zeros(())
        return losses, self.diffusion_loss(x[:, -sizes[-1] :].float(), targets[-1], codes.rest, kept)

    def diffusion_loss(self, x: Tensor, idx: Tensor, rest: Tensor, kept: Tensor) -> Tensor:
        code = F.embedding(idx, self.model.vae.quantize.embedding.weight)
        target = take_tokens(rest, kept) - code
        z = self.model.diffusion_condition(x, code)
        return self.model.diffloss.loss(target.flatten(0, 1).repeat(2, 1), z.flatten(0, 1).repeat(2, 1))

    def softness(self) -> float:
        """Soft targets at first, none over the last third of the steps."""
        return self.settings.soft * max(0.0, 1 - 1.5 * self.step / self.settings.steps)

    def kept_positions(self, batch: int, num_stages: int) -> Tensor:
        scores = torch.rand(batch, self.model.config.patch_nums[num_stages - 1] ** 2)
        return scores.argsort(dim=1)[:, : self.settings.kept_tokens].sort(dim=1).values

    # -- training ----------------------------------------------------------------------------------------------------

    def train_step(self) -> dict[str, list[float] | float]:
        settings, num_stages = self.settings, len(self.model.config.patch_nums)
        full = self.step % settings.full_every == settings.full_every - 1
        size = settings.full_batch if full else settings.coarse_batch
        chosen = torch.multinomial(self.weights, size, generator=self.generator)
        captions = [self.scenes[i].caption(self.rng) for i in chosen.tolist()]
        stages = num_stages if full else settings.coarse_stages
        losses, diffusion = self.stage_losses(self.latents[chosen].float(), captions, stages, train=True)
        # A stage of side p weighs p: early stages decide what is painted, late ones have many tokens.
        weights = torch.tensor(self.model.config.patch_nums[:stages], dtype=torch.float32)
        ((losses * weights).sum() / weights.sum() + diffusion).backward()
        self.optimizer.step(cosine_schedule(self.step, settings.steps, warmup=50))
        record: dict[str, list[float] | float] = {"cross_entropy": [round(v, 2) for v in losses.tolist()]}
        return record | ({"diffusion": round(float(diffusion.detach()), 3)} if full else {})

    @torch.no_grad()
    def evaluate(self) -> dict[str, list[float] | float]:
        f, captions = self.held_out
        losses, diffusion = self.stage_losses(f, captions, len(self.model.config.patch_nums), train=False)
        return {"held_out": [round(v, 2) for v in losses.tolist()], "diffusion": round(float(diffusion), 3)}

    def prepare_held_out(self, size: int = 48) -> None:
        scenes = held_out_scenes()
        chosen = [scenes[i] for i in np.random.default_rng(3).choice(len(scenes), size, replace=False)]
        self.held_out = encode(self.vae, chosen).float(), [scene.caption() for scene in chosen]

    def state(self) -> dict:
        return {
            "step": self.step,
            "weights": self.all.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "settings": asdict(self.settings),
        }

    def start_from_shipped(self) -> None:
        """Go on from the weights in the package, with a fresh schedule: a new machine keeps only what is committed."""
        for module, folder in ((self.model, "llm"), (self.text, "text_encoder")):
            state = load_file(EMBEDDED / folder / "model.safetensors")
            module.load_state_dict({key: value.float() for key, value in state.items()})

    def resume(self) -> None:
        state = load_checkpoint(self.folder / "last.pt")
        if state is not None:
            self.step = state["step"]
            self.all.load_state_dict(state["weights"])
            self.optimizer.load_state_dict(state["optimizer"])
            # Other samples than those seen since the start.
            self.rng = np.random.default_rng([self.settings.seed, self.step])
            self.generator.manual_seed(self.settings.seed + 1_000_003 * self.step)
            torch.manual_seed(self.settings.seed + self.step)

    def run(self) -> None:
        self.resume()
        self.prepare_held_out()
        while self.step < self.settings.steps:
            record = self.train_step()
            self.step += 1
            if self.step % 20 in (0, 4):
                self.log(step=self.step, **record)
            if self.step % 200 == 0 or self.step == self.settings.steps:
                self.log(step=self.step, **self.evaluate())
                save_checkpoint(self.folder / "last.pt", self.state())


def take_tokens(x: Tensor, kept: Tensor) -> Tensor:
    """Tokens [B, n, c] of [B, L, c] at the positions [B, n]."""
    return x.gather(1, kept[..., None].expand(-1, -1, x.shape[-1]))


def model_config(settings: Settings, vae_config) -> HARTForT2IConfig:
    """The released flavour at the embedded size."""
    return HARTForT2IConfig(
        context_token=CONTEXT_TOKENS,
        context_dim=CONTEXT_DIM,
        depth=settings.depth,
        embed_dim=settings.embed_dim,
        num_heads=settings.num_heads,
        attn_type="llama",
        mlp_type="llama",
        disable_aln=True,
        use_timestep_embed=True,
        use_context_norm=True,
        diff_width=settings.diff_width,
        diff_depth=settings.diff_depth,
        patch_nums=vae_config.v_patch_nums,
        latent_channels=vae_config.z_channels,
        codebook_size=vae_config.vocab_size,
    )


def hidden_matrices(modules: torch.nn.ModuleDict) -> set[str]:
    """Weights for Muon: the matrices inside the transformer's blocks, the text layers and the diffusion blocks."""
    inner = ("hart.blocks.", "text.layers.", "hart.diffloss.net.res_blocks.")
    return {
        name
        for name, p in modules.named_parameters()
        if p.ndim == 2 and name.startswith(inner) and "adaLN_modulation" not in name
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="transformer", help="folder under training/runs")
    parser.add_argument("--from_shipped", action="store_true", help="start from the weights in the package")
    for name, value in asdict(Settings()).items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    arguments = vars(parser.parse_args())
    run, shipped = arguments.pop("run"), arguments.pop("from_shipped")
    training = TransformerTraining(Settings(**arguments), run)
    if shipped:
        training.start_from_shipped()
    training.run()


if __name__ == "__main__":
    main()
