"""The teacher-forced pass over all stages, with disturbed inputs; everything that never changes is prepared once.

Shapes: B pictures, T text tokens, L = n - T + 1 picture tokens of all stages, K stages, N = P*P tokens of the last, C
width, c code channels, V codes.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaModel

from hart.modules.models.autoencoder import HARTHybridQuantizer
from hart.modules.models.transformer import HARTForT2I
from hart.modules.models.transformer.training import join_stages, stage_causal_mask
from hart.modules.networks.rope import Rope
from hart.modules.networks.stage import Span, Stage
from training.captions import Captions
from training.common import autocast
from training.text import CONTEXT_TOKENS

# From the first stage of so many tokens on, each is a span of its own; shorter ones cost more in calls than they save.
SHORTEST_SPAN = 96


class Codes(NamedTuple):
    """Teacher-forcing material of a batch.

    Args:
        x_in: inputs [B, L - 1, c] of all stages but the first.
        targets: code indices [B, L].
        rest: remainder [B, N, c] before the last stage's codes were subtracted.
    """

    x_in: Tensor
    targets: Tensor
    rest: Tensor


class Losses(NamedTuple):
    """Of a batch: cross-entropy and entropy of the predicted distribution in nats, per stage [K], and the diffusion
    head's loss."""

    cross_entropy: Tensor
    entropy: Tensor
    diffusion: Tensor


@torch.no_grad()
def disturbed_codes(quantizer: HARTHybridQuantizer, f: Tensor, disturb: float) -> Codes:
    """Residual codes of latents [B, c, P, P] in which the inputs are noisy and the targets know it.

    Args:
        quantizer: the tokenizer's.
        f: latents.
        disturb: largest noise on what an input code is looked up for, in standard deviations of the stage.
    """
    sides, rest, f_hat, inputs, targets = quantizer.v_patch_nums, f, torch.zeros_like(f), [], []
    noise, chance = torch.rand(2, len(f), 1, 1, 1, device=f.device)
    amount = disturb * noise * (chance < 0.7)
    for stage, side in enumerate(sides):
        z = F.adaptive_avg_pool2d(rest, side)
        targets.append(quantizer.lookup(z).flatten(1))
        if stage == len(sides) - 1:
            break
        noisy = quantizer.lookup(z + torch.randn_like(z) * amount * z.std())
        part = quantizer.contribution(stage, len(sides), quantizer.embed_map(noisy), f.shape[-1])
        f_hat, rest = f_hat + part, rest - part
        inputs.append(F.adaptive_avg_pool2d(f_hat, sides[stage + 1]).flatten(2).transpose(1, 2))
    return Codes(torch.cat(inputs, dim=1), torch.cat(targets, dim=1), rest.flatten(2).transpose(1, 2))


def text_mask(device: torch.device) -> Tensor:
    """Bool [T, 1, T, T], by number of words - 1: a token sees earlier tokens and itself, but no padding."""
    causal = torch.ones(CONTEXT_TOKENS, CONTEXT_TOKENS, dtype=torch.bool, device=device).tril()
    words = torch.arange(CONTEXT_TOKENS, device=device) <= torch.arange(CONTEXT_TOKENS, device=device)[:, None]
    return (causal & words[:, None])[:, None]


def stage_spans(levels_n: Tensor) -> tuple[Span, ...]:
    """Cut a sequence whose tokens have these stages: small early stages share a span and its mask."""
    bounds = [0, *(levels_n.diff().nonzero().flatten() + 1).tolist(), len(levels_n)]
    large = [stop for start, stop in pairwise(bounds) if stop - start >= SHORTEST_SPAN]
    first = bounds[bounds.index(large[0]) - 1] if large else len(levels_n)
    spans = [Span(0, first, stage_causal_mask(levels_n[:first]))] if first else []
    return (*spans, *(Span(start, stop) for start, stop in pairwise(bounds) if start >= first))


class TeacherForcing:
    """Runs a transformer and its text model on batches of latents and captions.

    Args:
        model: the transformer, its tokenizer attached, where it is to run.
        text: the text model, on the same device.
        drop_prompt: share of prompts that `train` replaces by zeros, for guidance.
    """

    def __init__(self, model: HARTForT2I, text: LlamaModel, drop_prompt: float):
        self.model, self.text, self.drop_prompt = model, text, drop_prompt
        device, sides = model.device, model.config.patch_nums
        self.text_mask = text_mask(device)
        self.rope, self.levels_n = self._positions(device)
        self.spans = stage_spans(self.levels_n)
        sizes_K = torch.tensor([side * side for side in sides])
        stage_L = torch.arange(len(sides)).repeat_interleave(sizes_K)
        self.mean_LK = (F.one_hot(stage_L) / sizes_K).to(device)

    @torch.no_grad()
    def _positions(self, device: torch.device) -> tuple[Rope, Tensor]:
        """Rotary tables [T, 1, n, d] by number of words - 1, and the stage [n] of every token."""
        config = self.model.config
        place_T = torch.arange(CONTEXT_TOKENS, device=device)
        position_TT = torch.minimum(place_T[None], place_T[:, None])
        x_in = torch.zeros(CONTEXT_TOKENS, config.num_image_tokens - 1, config.latent_channels, device=device)
        with autocast(device):
            text = self.model.embed_text(torch.zeros(CONTEXT_TOKENS, CONTEXT_TOKENS, config.context_dim, device=device))
            _, rope, levels_n = join_stages(self.model, text, position_TT, x_in, len(config.patch_nums))
        if rope is None:
            raise ValueError("attn_type must be 'llama', got a flavour without rotary positions.")
        return rope, levels_n

    def __call__(self, f: Tensor, captions: Captions, disturb: float = 0.0, train: bool = False) -> Losses:
        """One pass over all stages and all their tokens.

        Args:
            f: latents [B, c, P, P].
            captions: of the same pictures.
            disturb: see `disturbed_codes`.
            train: drop prompts; the entropy is then left zero.
        """
        codes = disturbed_codes(self.model.vae.quantize, f.float(), disturb)
        with autocast(f.device):
            text, length_B = self._encode_text(captions, self.drop_prompt if train else 0.0)
            rope = Rope(self.rope.cos[length_B - 1], self.rope.sin[length_B - 1])
            x = torch.cat([text, self.model.word_embed(codes.x_in)], dim=1) + self.model.level_table()[self.levels_n]
            x = self.model.run_blocks(x, Stage(0, rope=rope, spans=self.spans))[:, CONTEXT_TOKENS - 1 :]
            logits_BLV = self.model.get_logits(x, self.model.head_nm.condition(text))
            diffusion = self._diffusion_loss(x, codes)
        nats_BL = F.cross_entropy(logits_BLV.flatten(0, 1), codes.targets.flatten(), reduction="none").view(len(f), -1)
        nats_K = nats_BL.mean(0) @ self.mean_LK
        entropy_K = torch.zeros_like(nats_K) if train else self._entropy(logits_BLV)
        return Losses(nats_K, entropy_K, diffusion)

    def _encode_text(self, captions: Captions, drop: float) -> tuple[Tensor, Tensor]:
        """Embedded text [B, T, C] with gradients, and its number of words [B]."""
        mask = self.text_mask[captions.length_B - 1]
        context = self.text(input_ids=captions.tokens_BT, attention_mask=mask, use_cache=False).last_hidden_state
        dropped_B = torch.rand(len(mask), device=mask.device) < drop
        context = context.float().masked_fill(dropped_B[:, None, None], 0)
        return self.model.embed_text(context), captions.empty(dropped_B).length_B

    def _diffusion_loss(self, x: Tensor, codes: Codes) -> Tensor:
        """The head learns what the true code of every last-stage token leaves over."""
        idx_BN = codes.targets[:, -codes.rest.shape[1] :]
        code = F.embedding(idx_BN, self.model.vae.quantize.embedding.weight)
        z = self.model.diffusion_condition(x[:, -idx_BN.shape[1] :], code)
        return self.model.diffloss.loss((codes.rest - code).flatten(0, 1), z.flatten(0, 1))

    def _entropy(self, logits_BLV: Tensor) -> Tensor:
        log_probability = logits_BLV.log_softmax(dim=-1)
        return -(log_probability.exp() * log_probability).sum(-1).mean(0) @ self.mean_LK
