"""A tiny transformer with its tokenizer, built in a moment and different in every test that changes it."""

import copy

import pytest
import torch

from hart.modules.models.autoencoder import HARTAutoEncoderWithDisc, HARTAutoEncoderWithDiscConfig
from hart.modules.models.transformer import HARTForT2I, HARTForT2IConfig

SIDES = (1, 2, 4, 8)
TOKENIZER = {"vocab_size": 48, "z_channels": 4, "ch": 32, "ch_mult": (1, 1), "v_patch_nums": SIDES}
TRANSFORMER = {
    "context_token": 5,
    "context_dim": 12,
    "depth": 2,
    "embed_dim": 16,
    "num_heads": 2,
    "patch_nums": SIDES,
    "attn_type": "llama",
    "mlp_type": "llama",
    "disable_aln": True,
    "use_timestep_embed": True,
    "use_context_norm": True,
    "diff_width": 16,
    "diff_depth": 1,
    "latent_channels": 4,
    "codebook_size": 48,
}


def build(**settings) -> HARTForT2I:
    """A tiny model with random weights everywhere, so that no part of it is without effect."""
    torch.manual_seed(0)
    vae = HARTAutoEncoderWithDisc(HARTAutoEncoderWithDiscConfig(**TOKENIZER)).vae
    torch.nn.init.normal_(vae.quantize.embedding.weight)
    model = HARTForT2I(HARTForT2IConfig(**(TRANSFORMER | settings)), vae=vae).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture(scope="session")
def shared_model() -> HARTForT2I:
    return build()


@pytest.fixture
def model(shared_model) -> HARTForT2I:
    """Its own copy for every test."""
    return copy.deepcopy(shared_model)


def text(batch: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Arguments that describe `batch` prompts, padded on the left by different amounts."""
    mask = torch.ones(batch, 5, dtype=torch.long)
    for row in range(batch):
        mask[row, : row % 3] = 0
    context = torch.randn(batch, 5, 12, generator=torch.Generator().manual_seed(seed))
    return {"label_B": context, "context_position_ids": mask.cumsum(1) - 1, "context_mask": mask.bool()}
