"""Starting weights: those of every new model, and the published scheme for training from nothing (spec section 12)."""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from hart.modules.diffusion import init_diffusion_weights
from hart.modules.networks.mlp import GeluMLP
from hart.modules.networks.norm import RMSNorm

if TYPE_CHECKING:
    from hart.modules.models.transformer.hart_transformer_t2i import HARTForT2I


def init_module(module: nn.Module, std: float = 0.02) -> None:
    """Truncated normal weights and zero biases; norms start at one."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.trunc_normal_(module.weight, std=std)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, RMSNorm) or (isinstance(module, nn.LayerNorm) and module.weight is not None):
        nn.init.ones_(module.weight)
        if isinstance(module, nn.LayerNorm) and module.bias is not None:
            nn.init.zeros_(module.bias)


@torch.no_grad()
def init_for_training(
    model: "HARTForT2I",
    init_adaln: float = 0.5,
    init_adaln_gamma: float = 1e-5,
    init_head: float = 0.02,
    init_std: float = 0.02,
) -> None:
    """Give a model the published starting weights; the published class calls this `init_weights`.

    Args:
        model: whose weights to overwrite; its tokenizer stays as it is.
        init_adaln: factor on the weights that scale and shift by text.
        init_adaln_gamma: factor on the weights that gate a branch by text.
        init_head: factor on the logits layer.
        init_std: standard deviation of linears and embeddings; below 0 means sqrt(1 / (3 C)).
    """
    dim = model.config.embed_dim
    for module in model.modules():
        init_module(module, init_std if init_std >= 0 else math.sqrt(1 / (3 * dim)))
    init_diffusion_weights(model.diffloss)
    outer_std = math.sqrt(1 / (3 * dim))
    nn.init.trunc_normal_(model.context_embed.weight, std=outer_std)
    if isinstance(model.lvl_embed, nn.Embedding):
        nn.init.trunc_normal_(model.lvl_embed.weight, std=outer_std)
    if model.config.attn_type == "gpt2":
        nn.init.trunc_normal_(model.pos_start, std=outer_std)
        nn.init.trunc_normal_(model.pos_1LC, std=outer_std)
    model.head.weight.mul_(init_head)
    head_modulation: Any = model.head_nm.ada_lin[1]
    head_modulation.weight.mul_(init_adaln)
    for block in model.blocks:
        _scale_block(block, dim, 1 / math.sqrt(2 * model.config.depth), init_adaln, init_adaln_gamma)


def _scale_block(block: Any, dim: int, residual: float, init_adaln: float, init_adaln_gamma: float) -> None:
    block.attn.proj.weight.mul_(residual)
    if isinstance(block.ffn, GeluMLP):
        block.ffn.fc2.weight.mul_(residual)
    if block.modulation == "adaln":
        linear = block.ada_lin[1]
        linear.weight[: 2 * dim].mul_(init_adaln_gamma)
        linear.weight[2 * dim :].mul_(init_adaln)
        nn.init.zeros_(linear.bias)
