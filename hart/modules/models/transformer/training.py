"""The teacher-forced training pass (spec section 11).

Shapes: B pictures, T text tokens, L picture tokens of all stages, N = P*P tokens of the last stage, m of them kept,
C width, c code channels, V codes.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from hart.modules.models.transformer.configuration import HARTForT2IConfig
from hart.modules.models.transformer.inputs import check_tensor
from hart.modules.networks.rope import Rope, image_rope, text_rope, token_map_positions
from hart.modules.networks.sampling import keep_top_k, keep_top_p, sample_codes, stage_top_k
from hart.modules.networks.stage import Stage

if TYPE_CHECKING:
    from hart.modules.models.transformer.hart_transformer_t2i import HARTForT2I

# How many last-stage tokens training leaves out: a truncated normal on [0.5, 1] around 1; at least 32 stay.
MASK_STD, MASK_LOW, MIN_KEPT = 0.25, 0.5, 32
SAMPLE_TOP_P = 0.96


@dataclass(frozen=True)
class TrainingInputs:
    """Arguments of `HARTForT2I.forward`, in its order.

    The pass itself reads all but `last_layer_gt_discrete`, which is for the caller's cross-entropy: it is checked here
    and used nowhere.
    """

    context: Tensor
    x_in: Tensor
    context_position_ids: Tensor
    context_mask: Tensor
    last_layer_gt: Tensor
    last_layer_gt_discrete: Tensor


@dataclass
class TrainingDraws:
    """What a training pass draws at random; anything given is used instead.

    Args:
        kept_Bm: kept last-stage positions [B, m], ascending.
        dropped_B: bool [B], prompts replaced by zeros.
        idx_Bm: last-stage codes [B, m] that the diffusion head is conditioned on.
        diffusion_steps, diffusion_noise: [B*m*diffusion_batch_mul] and [.., c].
        generator: source of everything not given.
    """

    kept_Bm: Tensor | None = None
    dropped_B: Tensor | None = None
    idx_Bm: Tensor | None = None
    diffusion_steps: Tensor | None = None
    diffusion_noise: Tensor | None = None
    generator: torch.Generator | None = None


def training_pass(
    model: "HARTForT2I", inputs: TrainingInputs, draws: TrainingDraws | None
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """See `HARTForT2I.forward`."""
    check_inputs(model, inputs)
    draws = draws or TrainingDraws()
    kept_Bm = draws.kept_Bm if draws.kept_Bm is not None else draw_kept(model, inputs, draws.generator)
    text_BTC = model.embed_text(drop_prompts(model, inputs.context, draws))
    x_BnC, rope, levels_n = _sequence(model, inputs, text_BTC, kept_Bm)
    stage = Stage(
        index=0,
        rope=rope,
        condition_RC=model.pooled_text(text_BTC, inputs.context_mask),
        mask=stage_causal_mask(levels_n),
    )
    x_BnC = model.run_blocks(x_BnC, stage)[:, model.config.context_token - 1 :]
    logits_BnV = model.get_logits(x_BnC, model.head_nm.condition(text_BTC))
    last_BmC = x_BnC[:, -kept_Bm.shape[1] :]
    loss = _diffusion_loss(model, inputs, last_BmC, logits_BnV, kept_Bm, draws)
    rows_Bm = torch.arange(len(kept_Bm), device=kept_Bm.device)[:, None].expand_as(kept_Bm)
    return logits_BnV, loss, (rows_Bm, kept_Bm)


def draw_kept(model: "HARTForT2I", inputs: TrainingInputs, generator: torch.Generator | None) -> Tensor:
    """Random last-stage positions [B, m] to keep, ascending; one rate for the batch."""
    num_tokens, device = inputs.last_layer_gt.shape[1], inputs.x_in.device
    uniform = torch.rand((), generator=generator, device=device).double()
    # Inverse of the normal's distribution function between the two ends, which lie at -2 and 0 deviations.
    low = 0.5 * (1 + math.erf((MASK_LOW - 1) / MASK_STD / math.sqrt(2)))
    quantile = low + uniform * (0.5 - low)
    rate = 1 + MASK_STD * math.sqrt(2) * torch.erfinv(2 * quantile - 1)
    masked = min(math.ceil(num_tokens * float(rate)), num_tokens - MIN_KEPT)
    scores_BN = torch.rand(len(inputs.x_in), num_tokens, generator=generator, device=device)
    return scores_BN.argsort(dim=1)[:, max(masked, 0) :].sort(dim=1).values


def drop_prompts(model: "HARTForT2I", context_BTD: Tensor, draws: TrainingDraws) -> Tensor:
    """Some prompts become zeros, at `cond_drop_rate`, on a copy. (The published code compared a normal draw.)"""
    dropped_B = draws.dropped_B
    if dropped_B is None:
        uniform_B = torch.rand(len(context_BTD), generator=draws.generator, device=context_BTD.device)
        dropped_B = uniform_B < model.config.cond_drop_rate
    return context_BTD.masked_fill(dropped_B[:, None, None], 0)


def _sequence(
    model: "HARTForT2I", inputs: TrainingInputs, text_BTC: Tensor, kept_Bm: Tensor
) -> tuple[Tensor, Rope | None, Tensor]:
    return join_stages(model, text_BTC, inputs.context_position_ids, inputs.x_in, len(model.config.patch_nums), kept_Bm)


def join_stages(
    model: "HARTForT2I",
    text_BTC: Tensor,
    position_BT: Tensor,
    x_in: Tensor,
    num_stages: int,
    kept_Bm: Tensor | None = None,
) -> tuple[Tensor, Rope | None, Tensor]:
    """Text and the first stages as one row of tokens each.

    Args:
        model: whose embeddings to use.
        text_BTC: embedded text.
        position_BT: text positions.
        x_in: inputs [B, l, c] of stages 1 .. num_stages-1.
        num_stages: how many stages, the text's included.
        kept_Bm: of the last of them, the positions to keep; None keeps all.

    Returns:
        Tokens [B, n, C], their rotary tables (None in the gpt2 flavour) and their stages [n].
    """
    config = model.config
    sides = config.patch_nums[:num_stages]
    if kept_Bm is None:
        kept_Bm = torch.arange(sides[-1] ** 2, device=x_in.device).expand(len(x_in), -1)
    early = sum(side * side for side in sides[1:-1])
    levels = [torch.zeros(config.context_token, dtype=torch.long)]
    levels += [torch.full((side * side,), index) for index, side in enumerate(sides) if index > 0]
    levels_n = torch.cat(levels)[: config.context_token + early + kept_Bm.shape[1]].to(text_BTC.device)
    image_BlC = _keep_tail(model.word_embed(x_in.to(text_BTC.dtype)), early, kept_Bm)
    x_BnC = torch.cat([text_BTC, image_BlC], dim=1) + model.level_table()[levels_n]
    if config.attn_type == "gpt2":
        absolute = model.pos_1LC.expand(len(x_BnC), -1, -1)
        x_BnC = x_BnC + _keep_tail(absolute, config.context_token + early, kept_Bm)
        start = F.pad(model.pos_start, (0, 0, 0, x_BnC.shape[1] - config.context_token))
        return x_BnC + start, None, levels_n
    return x_BnC, _rope(config, position_BT, sides, kept_Bm, x_BnC.dtype), levels_n


def _rope(
    config: HARTForT2IConfig, position_BT: Tensor, sides: tuple[int, ...], kept_Bm: Tensor, dtype: torch.dtype
) -> Rope:
    head_dim = config.embed_dim // config.num_heads
    maps = [token_map_positions(side, config.patch_nums[-1], position_BT[:, -1]) for side in sides[1:]]
    maps[-1] = maps[-1].gather(1, kept_Bm[..., None].expand(-1, -1, 2))
    image = image_rope(torch.cat(maps, dim=1), head_dim, dtype)
    text = text_rope(position_BT, head_dim, dtype)
    return Rope(torch.cat([text.cos, image.cos], dim=2), torch.cat([text.sin, image.sin], dim=2))


def _keep_tail(x_BnC: Tensor, start: int, kept_Bm: Tensor) -> Tensor:
    """Everything before `start` and, of what follows, the kept positions."""
    tail = x_BnC[:, start:].gather(1, kept_Bm[..., None].expand(-1, -1, x_BnC.shape[-1]))
    return torch.cat([x_BnC[:, :start], tail], dim=1)


def stage_causal_mask(levels_n: Tensor) -> Tensor:
    """Bool mask [1, 1, n, n], True where attended: a token sees its own stage, all earlier ones and the text."""
    return (levels_n[:, None] >= levels_n[None, :])[None, None]


def _diffusion_loss(
    model: "HARTForT2I",
    inputs: TrainingInputs,
    last_BmC: Tensor,
    logits_BnV: Tensor,
    kept_Bm: Tensor,
    draws: TrainingDraws,
) -> Tensor:
    """The head learns what is left after the codes that the model itself would draw."""
    codebook_Vc = model.vae.quantize.embedding.weight.float()
    idx_Bm = draws.idx_Bm
    if idx_Bm is None:
        idx_Bm = _sample_last(model, logits_BnV[:, -kept_Bm.shape[1] :].detach().clone(), draws.generator)
    codes_Bmc = F.embedding(idx_Bm, codebook_Vc)
    z_BmC = model.diffusion_condition(last_BmC, codes_Bmc)
    target_Bmc = inputs.last_layer_gt.gather(1, kept_Bm[..., None].expand(-1, -1, codes_Bmc.shape[-1])) - codes_Bmc
    repeat = model.config.diffusion_batch_mul
    return model.diffloss.loss(
        target_Bmc.flatten(0, 1).repeat(repeat, 1),
        z_BmC.flatten(0, 1).repeat(repeat, 1),
        draws.generator,
        draws.diffusion_steps,
        draws.diffusion_noise,
    )


def _sample_last(model: "HARTForT2I", logits_BmV: Tensor, generator: torch.Generator | None) -> Tensor:
    vocab = logits_BmV.shape[-1]
    keep_top_p(keep_top_k(logits_BmV, stage_top_k(0, 0, vocab)), SAMPLE_TOP_P)
    return sample_codes(logits_BmV, generator)


def check_inputs(model: "HARTForT2I", inputs: TrainingInputs) -> None:
    """Raise a ValueError that names the tensor, its kind and shape, and the allowed ones."""
    config, last = model.config, model.config.patch_nums[-1] ** 2
    check_tensor("context", inputs.context, ("B", config.context_token, config.context_dim), floating=True)
    batch = len(inputs.context)
    for name, shape, floating in (
        ("x_in", (batch, config.num_image_tokens - 1, config.latent_channels), True),
        ("context_position_ids", (batch, config.context_token), False),
        ("context_mask", (batch, config.context_token), False),
        ("last_layer_gt", (batch, last, config.latent_channels), True),
        ("last_layer_gt_discrete", (batch, last), False),
    ):
        check_tensor(name, getattr(inputs, name), shape, floating)
