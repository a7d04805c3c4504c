"""Trainings at toy size."""

from pathlib import Path

import torch

from training import latents, train_transformer
from training.train_transformer import TransformerTraining

CPU = torch.device("cpu")
SIZES = {"depth": 1, "embed_dim": 32, "num_heads": 2, "diff_width": 16, "diff_depth": 1, "batch": 2}
SETTINGS = train_transformer.Settings(**SIZES)
# Small matrices: the machine's peak is measured in milliseconds.
PEAK_SIZE = 64


def noise_latents(folder: Path, count: int = 6) -> None:
    """A shard of latents that no tokenizer was run for."""
    scenes = latents.chosen_scenes(places=1)[:count]
    torch.manual_seed(0)
    state = {
        "latents": torch.randn(count, 16, 16, 16).half(),
        "rows": torch.tensor([latents.scene_to_row(scene) for scene in scenes]),
        "encoder": latents.encoder_digest(latents.load_tokenizer()),
    }
    latents.save_checkpoint(folder / "0000.pt", state)


def transformer_training(folder: Path, start: str = "scratch", settings=SETTINGS) -> TransformerTraining:
    if not (folder.parent / "latents").exists():
        noise_latents(folder.parent / "latents")
    return TransformerTraining(settings, folder, CPU, start=start, judged_size=1, latents=folder.parent / "latents")
