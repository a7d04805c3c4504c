"""Painting, stage by stage: from text features to the accumulated latent map (spec section 6).

All state of a run lives in a `Generation`; nothing is kept on modules, so an exception leaves nothing behind and
two threads may paint with one model. Shapes: B pictures, R = 2B rows (conditional first), T text tokens, C width,
c code channels, V codes, P side of the last stage.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hart.modules.cache.branch_cache import NoCache, StageStart
from hart.modules.diffusion.noise import given_noise, noise_per_picture
from hart.modules.models.transformer.inputs import GenerationInputs, check_inputs
from hart.modules.models.transformer.seeds import PictureRandom
from hart.modules.models.transformer.stage_info import StageInfo
from hart.modules.networks.kv_cache import KVCache
from hart.modules.networks.precision import input_dtype
from hart.modules.networks.rope import Rope, image_rope, text_rope, token_map_positions
from hart.modules.networks.sampling import (
    Places,
    keep_top_k,
    keep_top_p,
    sample_codes,
    skip_draws,
    soft_codes,
    stage_top_k,
    tokens_to_decode,
)
from hart.modules.networks.stage import Stage
from hart.utils.finite import check_finite

if TYPE_CHECKING:
    from hart.modules.models.transformer.hart_transformer_t2i import HARTForT2I


def generate(model: "HARTForT2I", inputs: GenerationInputs) -> Tensor:
    """Paint and return the latent map [B, c, P, P].

    Raises:
        ValueError: an argument that does not fit, or logits, residuals or a latent map that are not finite.
    """
    check_inputs(model, inputs)
    runs = _runs(model, inputs)
    for index, side in enumerate(model.config.patch_nums):
        for run in runs:
            run.run_stage(index)
        if inputs.callback_on_stage_end is not None:
            f_hat = torch.cat([run.f_hat for run in runs])
            info = StageInfo(index, len(model.config.patch_nums), side, f_hat, model.latent_to_img)
            if inputs.callback_on_stage_end(index, info) is False:
                break
    for run in runs:
        run.cache.finish()
    runs[0].cache.finish_call()
    f_hat = torch.cat([run.f_hat for run in runs])
    check_finite("the latent map is", f_hat, f_hat.dtype)
    return f_hat


def _runs(model: "HARTForT2I", inputs: GenerationInputs) -> "list[Generation]":
    """Runs that go stage by stage, side by side; draws or noise of the batch as a whole keep it whole."""
    random = PictureRandom(inputs.g_seed, inputs.B, model.device)
    shared = isinstance(inputs.g_seed, torch.Generator) or inputs.diffusion_noise is not None
    if shared or not paints_one_by_one(model.device):
        return [Generation(model, inputs, random)]
    first = Generation(model, inputs.picture(0), random.picture(0))
    others = [
        Generation(model, inputs.picture(index), random.picture(index), beside=first.cache)
        for index in range(1, inputs.B)
    ]
    return [first, *others]


def paints_one_by_one(device: torch.device) -> bool:
    """Whether every picture of a batch is computed by itself.

    CPU products round differently at another batch size, and a rounding may change a code: a seed would mean another
    picture in another batch.
    """
    return device.type == "cpu"


class Generation:
    """One run: text, KV cache, random draws, the tokens of the stage to come and the latent map so far."""

    def __init__(
        self, model: "HARTForT2I", inputs: GenerationInputs, random: PictureRandom, beside: NoCache | None = None
    ):
        self.model, self.inputs = model, inputs
        self.config, self.quantizer = model.config, model.vae.quantize
        self.sides = self.config.patch_nums
        self.num_stages = len(self.sides)
        self.random = random
        self.levels_KC = model.level_table()
        self._embed_text()
        like = self.text_RTC
        heads, capacity = self.config.num_heads, self.config.context_token + self.config.num_image_tokens - 1
        self.kv = KVCache(self.config.depth, 2 * inputs.B, heads, self.config.embed_dim // heads, capacity, like)
        # In float32 whatever the model computes in: ten or more stages add up in it.
        map_shape = (inputs.B, self.config.latent_channels, self.sides[-1], self.sides[-1])
        self.f_hat = torch.zeros(map_shape, device=model.device, dtype=torch.float32)
        self.map_before_BcPP = self.f_hat
        self.cache = model.new_cache(rounds=inputs.num_maskgit_iters, beside=beside)
        self.codebook_Vc = self.quantizer.embedding.weight.float()
        self.noise_used = 0
        self.undrawn: list[int] = []  # tokens of stages that were not run, whose random numbers nobody used
        self.halves = 2  # conditional and unconditional rows
        self.tokens_RnC = self.text_tokens()

    def run_stage(self, index: int) -> None:
        """Run a stage, add what it gives to the latent map, and make the next stage's tokens."""
        if self.halves == 2 and self.cache.unguided(index):
            self.leave_guidance()
        if index == self.num_stages - 1:
            self.paint_last_stage(self.tokens_RnC)
            return
        next_map_Bcpp = self.add_to_map(index, self.predict_codes(index, self.tokens_RnC))
        self.tokens_RnC = self.image_tokens(index + 1, next_map_Bcpp)

    # -- inputs of a stage -------------------------------------------------------------------------------------------

    def _embed_text(self) -> None:
        """Conditional rows, then unconditional ones: negative features, or zeros at position 0 with one token."""
        model, inputs, tokens = self.model, self.inputs, self.config.context_token
        text_BTD = inputs.label_B
        if text_BTD is None:
            text_BTD = torch.zeros(inputs.B, tokens, self.config.context_dim, device=model.device)
        text_BTD = text_BTD.to(model.device, torch.float32)
        position_BT = _or_zeros(inputs.context_position_ids, text_BTD)
        mask_BT = _or_first_token(inputs.context_mask, text_BTD)
        negative_BTD = torch.zeros_like(text_BTD)
        if inputs.negative_context is not None:
            negative_BTD = inputs.negative_context.to(text_BTD)
        position_RT = torch.cat([position_BT, _or_zeros(inputs.negative_position_ids, text_BTD)])
        mask_RT = torch.cat([mask_BT, _or_first_token(inputs.negative_mask, text_BTD)])
        self.text_RTC = model.embed_text(torch.cat([text_BTD, negative_BTD]))
        self.head_condition = model.head_nm.condition(self.text_RTC)
        self.pooled_RC = model.pooled_text(self.text_RTC, mask_RT)
        self.text_position_RT = position_RT

    def leave_guidance(self) -> None:
        """Go on with the conditional rows alone."""
        rows = self.inputs.B
        self.halves = 1
        self.tokens_RnC, self.text_position_RT = self.tokens_RnC[:rows], self.text_position_RT[:rows]
        self.head_condition = (self.head_condition[0][:rows], self.head_condition[1][:rows])
        self.pooled_RC = None if self.pooled_RC is None else self.pooled_RC[:rows]
        self.kv.keep_rows(rows)
        self.cache.keep_rows(rows)

    def text_tokens(self) -> Tensor:
        """Input of the first stage [R, T, C]: the text."""
        tokens_RTC = self.text_RTC + self.levels_KC[0]
        if self.config.attn_type == "gpt2":
            tokens_RTC = tokens_RTC + self.model.pos_start + self.model.pos_1LC[:, : tokens_RTC.shape[1]]
        return tokens_RTC

    def image_tokens(self, index: int, map_Bcpp: Tensor) -> Tensor:
        """Input of a later stage [R, p*p, C]: the accumulated map at its size, the same for all rows of a picture."""
        embed = self.model.word_embed
        tokens_BnC = embed(map_Bcpp.flatten(2).transpose(1, 2).to(input_dtype(embed))) + self.levels_KC[index]
        if self.config.attn_type == "gpt2":
            start = self.config.context_token + sum(side * side for side in self.sides[1:index])
            tokens_BnC = tokens_BnC + self.model.pos_1LC[:, start : start + tokens_BnC.shape[1]]
        return tokens_BnC.repeat(self.halves, 1, 1)

    def _start(self, index: int, tokens_RnC: Tensor) -> StageStart:
        seeds = tuple(generator.initial_seed() for generator in self.random.noise)
        return StageStart(index, tokens_RnC, self.map_before_BcPP, self.f_hat, seeds)

    def stage(self, index: int) -> Stage:
        """What the blocks need to know; the rotary tables are made here, once per stage."""
        return Stage(index, rope=self._rope(index), kv=self.kv, condition_RC=self.pooled_RC, cache=self.cache)

    def _rope(self, index: int) -> Rope | None:
        if self.config.attn_type == "gpt2":
            return None
        head_dim, dtype = self.config.embed_dim // self.config.num_heads, self.text_RTC.dtype
        if index == 0:
            return text_rope(self.text_position_RT, head_dim, dtype)
        offset_R = self.text_position_RT[:, -1]
        return image_rope(token_map_positions(self.sides[index], self.sides[-1], offset_R), head_dim, dtype)

    # -- a stage before the last -------------------------------------------------------------------------------------

    def ratio(self, index: int) -> float:
        """How far along the pyramid a stage is; the last stage keeps the ratio of the one before."""
        return min(index, self.num_stages - 2) / (self.num_stages - 1)

    def predict_codes(self, index: int, tokens_RnC: Tensor) -> Tensor | None:
        """Run the blocks and draw the stage's codes, as a map [B, c, p, p]; None where the stage adds nothing."""
        side = self.sides[index]
        if self.cache.drops(index):
            self.undrawn.append(side * side)
            return None
        chosen_Rm = self.cache.begin_stage(self._start(index, tokens_RnC))
        if chosen_Rm is not None and chosen_Rm.shape[1] == 0:
            self.undrawn.append(side * side)
            return None
        tokens_RmC, stage = self._part(tokens_RnC, self.stage(index), chosen_Rm)
        x_RmC = self.model.run_blocks(tokens_RmC, stage)
        if index == 0:
            x_RmC = x_RmC[:, -1:]  # the first code is read off the last text token alone
        _, codes_Bmc = self.draw_codes(index, x_RmC, self._places(chosen_Rm, side * side))
        return self._spread(codes_Bmc, chosen_Rm, side * side).transpose(1, 2).unflatten(2, (side, side))

    @staticmethod
    def _part(tokens_RnC: Tensor, stage: Stage, chosen_Rm: Tensor | None) -> tuple[Tensor, Stage]:
        """The chosen tokens of every row, with their positions; None chooses all."""
        if chosen_Rm is None:
            return tokens_RnC, stage
        index_RmC = chosen_Rm[..., None].expand(-1, -1, tokens_RnC.shape[-1])
        return tokens_RnC.gather(1, index_RmC), stage.select(chosen_Rm)

    @staticmethod
    def _spread(codes_Bmc: Tensor, chosen_Rm: Tensor | None, num_tokens: int) -> Tensor:
        """Codes at their places [B, n, c], zero elsewhere."""
        if chosen_Rm is None:
            return codes_Bmc
        index_Bmc = chosen_Rm[: len(codes_Bmc), :, None].expand_as(codes_Bmc)
        return codes_Bmc.new_zeros(len(codes_Bmc), num_tokens, codes_Bmc.shape[-1]).scatter(1, index_Bmc, codes_Bmc)

    def _places(self, chosen_Rm: Tensor | None, num_tokens: int) -> Places | None:
        """The chosen tokens of every picture; the same for both halves of a picture."""
        return None if chosen_Rm is None else Places(chosen_Rm[: self.inputs.B], num_tokens)

    def _skip_undrawn(self) -> None:
        """Use up the random numbers of stages that were not run, so that later ones draw as without cache."""
        while self.undrawn:
            like_BnV = self.codebook_Vc.new_empty(self.inputs.B, self.undrawn.pop(), len(self.codebook_Vc))
            for _ in range(1 + bool(self.inputs.more_smooth)):
                skip_draws(like_BnV, self.random.sampling)

    def draw_codes(self, index: int, x_RnC: Tensor, places: Places | None = None) -> tuple[Tensor, Tensor]:
        """Indices [B, n] and their (hard or soft) codes [B, n, c], by guidance and sampling.

        Args:
            index: the stage.
            x_RnC: what the blocks gave for its tokens.
            places: which tokens these are, where they are not all.
        """
        inputs, ratio = self.inputs, self.ratio(index)
        self._skip_undrawn()
        guidance = float(inputs.cfg) * ratio if self.halves == 2 else None
        logits_BnV = self.model.get_logits(x_RnC, self.head_condition, guidance)
        self._check_finite(f"logits of stage {index} (side {self.sides[index]}) are", logits_BnV)
        keep_top_k(logits_BnV, stage_top_k(inputs.top_k, index, logits_BnV.shape[-1]))
        keep_top_p(logits_BnV, inputs.top_p)
        idx_Bn = sample_codes(logits_BnV, self.random.sampling, places)
        if inputs.more_smooth:
            codes_Bnc = soft_codes(logits_BnV, ratio, self.codebook_Vc, self.random.sampling, places)
        else:
            codes_Bnc = F.embedding(idx_Bn, self.codebook_Vc)
        soft_Rn = self.cache.reused_tokens()
        if soft_Rn is not None:
            expected_Bnc = logits_BnV.softmax(dim=-1) @ self.codebook_Vc
            codes_Bnc = torch.where(soft_Rn[: len(idx_Bn), :, None], expected_Bnc, codes_Bnc)
        return idx_Bn, codes_Bnc

    def _check_finite(self, part: str, values: Tensor) -> None:
        check_finite(part, values, self.text_RTC.dtype)

    def add_to_map(self, index: int, codes_Bcpp: Tensor | None) -> Tensor:
        """Add the stage's codes (None for nothing) to the latent map; return the next stage's input map."""
        if codes_Bcpp is None:
            return F.adaptive_avg_pool2d(self.f_hat, self.sides[index + 1])
        self.map_before_BcPP = self.f_hat
        codes_Bcpp = codes_Bcpp.to(self.quantizer.embedding.weight.dtype)
        self.f_hat, next_map = self.quantizer.get_next_autoregressive_input(
            index, self.num_stages, self.f_hat, codes_Bcpp, self.sides
        )
        return next_map

    # -- the last stage ----------------------------------------------------------------------------------------------

    def paint_last_stage(self, tokens_RnC: Tensor) -> None:
        """Decode the last stage in rounds over a permutation and add codes and residuals, without phi."""
        index, side = self.num_stages - 1, self.sides[-1]
        if self.cache.drops(index):
            return
        stage, painted_BNc = self.stage(index), None
        for places_Rm in self._rounds(side):
            part_RnC, part_stage = self._part(tokens_RnC, stage, places_Rm)
            chosen_Rm = self.cache.begin_stage(self._start(index, part_RnC))
            places = self._places(chosen_Rm, part_RnC.shape[1])
            if chosen_Rm is not None:
                if chosen_Rm.shape[1] == 0:
                    continue
                part_RnC, part_stage = self._part(part_RnC, part_stage, chosen_Rm)
                places_Rm = chosen_Rm if places_Rm is None else places_Rm.gather(1, chosen_Rm)
            part_Bmc = self._last_stage_tokens(index, part_RnC, part_stage, places)
            spread_BNc = self._spread(part_Bmc, places_Rm, side * side)
            painted_BNc = spread_BNc if painted_BNc is None else painted_BNc + spread_BNc
        if painted_BNc is not None:
            self.f_hat = self.f_hat + painted_BNc.transpose(1, 2).unflatten(2, (side, side)).to(self.f_hat.dtype)

    def _last_stage_tokens(self, index: int, tokens_RmC: Tensor, stage: Stage, places: Places | None) -> Tensor:
        """Codes plus residuals [B, m, c] of some last-stage tokens, float32."""
        x_RmC = self.model.run_blocks(tokens_RmC, stage)
        idx_Bm, codes_Bmc = self.draw_codes(index, x_RmC, places)
        if self.inputs.final_stage != 0:
            return codes_Bmc.float()
        hard_Rmc = F.embedding(idx_Bm, self.codebook_Vc).repeat(self.halves, 1, 1)
        z_NC = self.model.diffusion_condition(x_RmC, hard_Rmc).flatten(0, 1)
        guidance = float(self.inputs.cfg) * self.ratio(index)
        if self.halves == 1:
            z_NC, guidance = z_NC.repeat(2, 1), 0.0  # of which the head reads the first half
        residual = self.model.diffloss.sample(z_NC, cfg=guidance, **self._diffusion_noise(places))
        check_finite("residuals of the diffusion head are", residual, next(self.model.diffloss.parameters()).dtype)
        return codes_Bmc.float() + residual.view(*idx_Bm.shape, -1)

    def _diffusion_noise(self, places: Places | None) -> dict[str, Any]:
        """Injected noise of this round, else generators; of some tokens, the noise that is theirs when all are run."""
        given = self._given_noise()
        if places is None:
            return {"generators": self.random.noise} if given is None else {"noise": given}
        rows, like = self.inputs.B * places.total, self.codebook_Vc
        size = (self.model.diffloss.num_sampling_steps, rows, like.shape[1], like.device)
        all_SNc = noise_per_picture(self.random.noise, *size) if given is None else given_noise(given, *size)
        per_picture = all_SNc.unflatten(1, (self.inputs.B, places.total))
        return {"noise": [places.take(all_Bnc).flatten(0, 1) for all_Bnc in per_picture]}

    def _given_noise(self) -> Sequence[Tensor] | None:
        """The next round's share of the injected noise."""
        given = self.inputs.diffusion_noise
        if given is None:
            return None
        per_round = self.model.diffloss.num_sampling_steps + 1
        part = given[self.noise_used : self.noise_used + per_round]
        self.noise_used += per_round
        return part

    def _rounds(self, side: int) -> Sequence[Tensor | None]:
        """Places [R, m] that each round decodes, ascending; a single round takes all tokens as they stand (None)."""
        rounds = self.inputs.num_maskgit_iters
        if rounds == 1:
            return [None]
        orders_BN = self.inputs.orders
        if orders_BN is None:
            orders_BN = self.random.orders(side * side)
        orders_BN, parts, end = orders_BN.to(self.f_hat.device, torch.long), [], side * side
        for count in tokens_to_decode(side, rounds):
            parts.append(orders_BN[:, end - count : end].sort(dim=1).values.repeat(self.halves, 1))
            end -= count
        return parts


def _or_zeros(position_BT: Tensor | None, like_BTD: Tensor) -> Tensor:
    if position_BT is None:
        return torch.zeros(like_BTD.shape[:2], dtype=torch.long, device=like_BTD.device)
    return position_BT.to(like_BTD.device)


def _or_first_token(mask_BT: Tensor | None, like_BTD: Tensor) -> Tensor:
    if mask_BT is not None:
        return mask_BT.to(like_BTD.device, torch.bool)
    mask_BT = torch.zeros(like_BTD.shape[:2], dtype=torch.bool, device=like_BTD.device)
    mask_BT[:, 0] = True
    return mask_BT
