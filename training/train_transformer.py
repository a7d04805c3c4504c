"""Train the embedded transformer, its diffusion head and text model: `python -m training.train_transformer`.

Every step is a full pass of all ten stages with all last-stage tokens. Input codes are disturbed and the targets of
later stages follow, so that the model learns to repair its own mistakes and paints combinations it never saw; the
disturbance falls while the learning rate decays. Goes on from what its folder holds.
"""

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hart.modules.models.autoencoder import HARTAutoEncoder
from hart.modules.models.transformer import HARTForT2I, HARTForT2IConfig
from training.budget import DECAY, SAVE_MINUTES, add_budget_arguments, budget_from, decay_factor
from training.captions import Captions, CaptionTable, tokenised
from training.common import EMBEDDED, RUNS, add_device_arguments, chosen_device, draw_places, tokenizer_folder
from training.data import Scene, held_out_scenes, training_scenes
from training.latents import SHARDS, encode, load_latents, load_tokenizer
from training.loop import Training
from training.meter import Averages
from training.optimizer import MuonAdamW
from training.pieces import read_facts
from training.starting_weights import FROM_SCRATCH, SHIPPED, start_from
from training.stream import chances_by_size
from training.teacher_forcing import TeacherForcing
from training.text import CONTEXT_DIM, CONTEXT_TOKENS, build_text_model, build_tokenizer, vocabulary


@dataclass
class Settings:
    """Of a model and its training.

    Args:
        batch: pictures of a step.
        muon_rate, adam_rate: peak learning rates.
        drop_prompt: share of prompts replaced by zeros.
        disturb: see `disturbed_codes`; half of it at the end.
        stage_power: a stage of side p weighs p to this power.
        diffusion_weight: of the diffusion head's loss.
        big: share of pictures with a big object.
        decay: share of the budget over which the learning rate falls to zero.
        depth, embed_dim, num_heads, diff_width, diff_depth: size of the model.
        seed: of everything drawn.
    """

    batch: int = 16
    muon_rate: float = 0.01
    adam_rate: float = 1e-3
    drop_prompt: float = 0.1
    disturb: float = 0.6
    stage_power: float = 1.3
    diffusion_weight: float = 0.5
    big: float = 0.5
    decay: float = DECAY
    depth: int = 6
    embed_dim: int = 256
    num_heads: int = 4
    diff_width: int = 256
    diff_depth: int = 3
    seed: int = 0


class Judged:
    """A fixed sample of scenes whose losses are followed: latents [N, c, P, P] and captions."""

    def __init__(self, scenes: list[Scene], size: int, vae: HARTAutoEncoder, tokenizer, device: torch.device):
        chosen = np.random.default_rng(3).choice(len(scenes), min(size, len(scenes)), replace=False)
        sample = [scenes[i] for i in chosen]
        self.latents = encode(vae, sample).to(device)
        self.captions = tokenised([scene.caption() for scene in sample], tokenizer, device)


class TransformerTraining(Training):
    """A transformer, its diffusion head and text model in training.

    Args:
        settings: see `Settings`.
        folder, device, compiled: see `Training`.
        start: `SHIPPED`, `FROM_SCRATCH` or another run's folder; unused where the folder holds an export.
        judged_size: scenes of each split whose losses are followed.
        latents: folder of the training scenes' latents.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        device: torch.device,
        compiled: bool = False,
        start: str = SHIPPED,
        judged_size: int = 48,
        latents: Path = SHARDS,
    ):
        super().__init__(settings, folder, device, compiled)
        self.decay = settings.decay
        self.vae, self.tokenizer = load_tokenizer(tokenizer_folder(folder)), build_tokenizer()
        self.text = build_text_model(len(self.tokenizer))
        self.model = HARTForT2I(model_config(settings, self.vae.config), vae=self.vae)
        torch.nn.init.normal_(self.model.word_embed.weight, std=0.5)  # latents are small; tokens should not be
        self.all = torch.nn.ModuleDict({"hart": self.model, "text": self.text})
        self._start(start)
        self.all.to(device)
        self.optimizer = MuonAdamW(
            self.all, hidden_matrices(self.all), settings.muon_rate, settings.adam_rate, betas=(0.9, 0.97)
        )
        self.passes = TeacherForcing(self.model, self.text, settings.drop_prompt)
        self._load_data(judged_size, latents)
        weights = torch.tensor(self.model.config.patch_nums, dtype=torch.float32) ** settings.stage_power
        self.stage_weights = (weights / weights.sum()).to(device)

    def _start(self, start: str) -> None:
        """Go on from the folder's export, else from what `start` names."""
        tensors = self.load()
        if tensors is not None:
            if (read_facts(self.folder) or {})["vocabulary"] != vocabulary():
                raise ValueError(f"out must be a run that knows today's words, got {str(self.folder)!r}; see --start.")
            self.all.load_state_dict(tensors)
            return
        if tokenizer_folder(self.folder) != EMBEDDED / "tokenizer" and start == SHIPPED:
            start = FROM_SCRATCH  # the codes of another tokenizer mean other things
        self.log(step=0, start=start_from(start, self.all, vocabulary()), settings=asdict(self.settings))

    def _load_data(self, judged_size: int, folder: Path) -> None:
        latents, scenes = load_latents(self.vae, folder)
        self.latents = latents.to(self.device)
        self.captions = CaptionTable(scenes, self.tokenizer, self.device)
        self.chances = chances_by_size(scenes, self.settings.big).to(self.device)
        self.judged = {
            name: Judged(pool, judged_size, self.vae, self.tokenizer, self.device)
            for name, pool in (("held_out", held_out_scenes()), ("training", training_scenes()))
        }

    @property
    def module(self) -> torch.nn.Module:
        return self.all

    @property
    def batch_size(self) -> int:
        return self.settings.batch

    def facts(self) -> dict[str, Any]:
        return {"vocabulary": vocabulary()}

    def to_compile(self) -> list[torch.nn.Module]:
        return list(self.model.blocks)

    def backward(self, share: float) -> dict[str, Tensor]:
        # Half of the disturbance goes as the learning rate does.
        disturb = self.settings.disturb * (0.5 + 0.5 * decay_factor(share, self.decay))
        chosen = draw_places(self.chances, self.settings.batch)
        losses = self.passes(self.latents[chosen], self.captions.draw(chosen), disturb, train=True)
        total = (losses.cross_entropy * self.stage_weights).sum() + self.settings.diffusion_weight * losses.diffusion
        total.backward()
        return {"cross_entropy": losses.cross_entropy, "diffusion": losses.diffusion}

    @torch.no_grad()
    def evaluate(self, batch: int = 16) -> dict[str, Any]:
        """Cross-entropy and entropy per stage and the diffusion loss, of both splits, undisturbed."""
        report = {}
        for name, judged in self.judged.items():
            averages, (tokens, length) = Averages(), judged.captions
            for start in range(0, len(judged.latents), batch):
                part = slice(start, start + batch)
                losses = self.passes(judged.latents[part], Captions(tokens[part], length[part]))
                averages.add(losses._asdict(), len(length[part]))
            report[name] = averages.take()
        return report


def model_config(settings: Settings, vae_config: Any) -> HARTForT2IConfig:
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


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the run and of `Settings`, read by `training_from`."""
    parser.add_argument("--start", default=SHIPPED, help=f"{SHIPPED!r}, {FROM_SCRATCH!r} or another run's folder")
    parser.add_argument("--compile", action="store_true", help="compile the blocks")
    parser.add_argument("--latents", type=Path, default=SHARDS, help="folder of the training scenes' latents")
    parser.add_argument("--scenes", type=int, help="encode so many training scenes only, for a try")
    parser.add_argument("--judged", type=int, default=48, help="scenes of each split whose losses are followed")
    parser.add_argument("--save_minutes", type=float, default=SAVE_MINUTES, help="minutes between two exports")
    parser.add_argument("--log_every", type=int, default=20, help="steps between two lines of the log")
    for name, value in asdict(Settings()).items():
        parser.add_argument(f"--{name}", type=type(value), default=value)


def training_from(arguments: argparse.Namespace, folder: Path, device: torch.device) -> TransformerTraining:
    values = vars(arguments)
    settings = Settings(**{name: values[name] for name in asdict(Settings())})
    return TransformerTraining(
        settings, folder, device, values["compile"], values["start"], values["judged"], values["latents"]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RUNS / "transformer", help="folder to write to and go on from")
    add_device_arguments(parser)
    add_budget_arguments(parser, steps=3000)
    add_training_arguments(parser)
    arguments = parser.parse_args()
    device, limits = chosen_device(arguments), budget_from(arguments)
    training_from(arguments, arguments.out, device).run(arguments.log_every, arguments.save_minutes, **limits)


if __name__ == "__main__":
    main()
