"""The published starting weights: what is scaled by what."""

import math

import pytest
import torch

from hart.modules.models.transformer import HARTForT2I, HARTForT2IConfig
from hart.modules.models.transformer.initialisation import init_for_training

STD = 0.02
# A normal of deviation 1 cut at +-2 standard deviations would have 0.88; torch cuts at +-2 absolute, so nothing is cut.
SPREAD = pytest.approx(STD, rel=0.15)


def model(**fields) -> HARTForT2I:
    torch.manual_seed(0)
    sizes = {"depth": 2, "embed_dim": 64, "num_heads": 4, "context_dim": 48, "patch_nums": (1, 2, 4), "diff_width": 32}
    return HARTForT2I(HARTForT2IConfig(**sizes | fields))


def test_linears_and_the_head() -> None:
    built = model(attn_type="llama", mlp_type="llama", disable_aln=True)
    init_for_training(built)
    block = built.blocks[0]
    assert block.attn.qkv_proj.weight.std().item() == SPREAD
    assert block.ffn.down_proj.weight.std().item() == SPREAD  # not rescaled in the llama flavour
    assert block.attn.proj.weight.std().item() == pytest.approx(STD / 2, rel=0.15)
    assert built.head.weight.std().item() == pytest.approx(STD * 0.02, rel=0.15)
    assert built.head_nm.ada_lin[1].weight.std().item() == pytest.approx(STD * 0.5, rel=0.15)
    assert built.context_embed.weight.std().item() == pytest.approx(math.sqrt(1 / (3 * 64)), rel=0.15)
    assert not built.diffloss.net.final_layer.linear.weight.any()


def test_gates_start_almost_closed() -> None:
    built = model(attn_type="llama", mlp_type="gpt2")
    init_for_training(built, init_adaln=0.5, init_adaln_gamma=1e-5)
    linear = built.blocks[1].ada_lin[1]
    gates, rest = linear.weight[: 2 * 64], linear.weight[2 * 64 :]
    assert gates.std().item() == pytest.approx(STD * 1e-5, rel=0.15)
    assert rest.std().item() == pytest.approx(STD * 0.5, rel=0.15)
    assert built.blocks[1].ffn.fc2.weight.std().item() == pytest.approx(STD / 2, rel=0.15)


def test_a_negative_deviation_follows_the_width() -> None:
    built = model(attn_type="llama", mlp_type="llama", disable_aln=True)
    init_for_training(built, init_std=-1)
    assert built.word_embed.weight.std().item() == pytest.approx(math.sqrt(1 / (3 * 64)), rel=0.15)
