"""Names, shapes and sizes of the published checkpoints."""

import json

import pytest
import torch

from hart.modules.models.transformer import HARTForT2I, HARTForT2IConfig
from tests.golden import FIXTURES, TRANSFORMERS

FULL = json.loads((FIXTURES / "keys_full.json").read_text())["llm"]
TINY = json.loads((FIXTURES / "keys_tiny.json").read_text())["keys"]
RELEASED = {
    "context_token": 300,
    "context_dim": 1536,
    "depth": 24,
    "embed_dim": 1536,
    "num_heads": 24,
    "patch_nums": (1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 27, 36, 48, 64),
    "attn_type": "llama",
    "mlp_type": "llama",
    "disable_aln": True,
    "use_timestep_embed": True,
    "use_context_norm": True,
}


def shapes(model: torch.nn.Module) -> dict[str, list[int]]:
    return {key: list(value.shape) for key, value in model.state_dict().items()}


def stored(keys: dict[str, list[int]]) -> dict[str, list[int]]:
    """Published keys without the two buffers that are functions of the config."""
    return {key: shape for key, shape in keys.items() if key not in ("lvl_1L", "attn_bias_for_masking")}


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_released_size():
    with torch.device("meta"):
        model = HARTForT2I(HARTForT2IConfig(**RELEASED))
    assert shapes(model) == stored(FULL["keys"])
    assert count(model) == FULL["params_total"] == 732_399_168
    assert count(model.blocks[0]) == FULL["one_block"]
    assert {"lvl_1L", "attn_bias_for_masking"} <= set(FULL["keys"])
    for part, size in FULL["by_part"].items():
        assert count(getattr(model, part, torch.nn.Module())) == size, part


@pytest.mark.parametrize("folder", TRANSFORMERS)
def test_every_flavour(folder):
    config = HARTForT2IConfig.from_pretrained(FIXTURES / folder)
    config.latent_channels, config.codebook_size = 8, 640  # a loaded checkpoint's weights tell
    with torch.device("meta"):
        assert shapes(HARTForT2I(config)) == stored(TINY[folder])
