"""HART for text to image: the transformer, its output heads and its training pass (arXiv 2410.10812).

Generation, stage by stage, is in `generation.py`. Shapes: B pictures, R rows (2B under guidance), T text tokens,
C width, L picture tokens of all stages, c code channels, V codes, K stages, P side of the last stage.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from hart.modules.cache.branch_cache import BranchCache
from hart.modules.cache.stage_caching import StageCaching
from hart.modules.diffusion import ResidualDiffusionHead, init_diffusion_weights
from hart.modules.models.autoencoder import HARTAutoEncoder
from hart.modules.models.transformer import generation, training
from hart.modules.models.transformer.configuration import HARTForT2IConfig
from hart.modules.models.transformer.initialisation import init_module
from hart.modules.models.transformer.inputs import GenerationInputs
from hart.modules.models.transformer.loading import FUNCTIONS_OF_THE_CONFIG, load_tokenizer, load_transformer
from hart.modules.models.transformer.seeds import Seed
from hart.modules.networks.attention import SelfAttention
from hart.modules.networks.block import Block, OutputModulation
from hart.modules.networks.embeddings import TimestepEmbedder
from hart.modules.networks.norm import RMSNorm, build_norm
from hart.modules.networks.precision import input_dtype
from hart.modules.networks.sampling import guide
from hart.modules.networks.stage import Stage
from hart.utils.finite import check_finite


class HARTForT2I(PreTrainedModel):
    """The text-conditioned transformer with its residual diffusion head; the tokenizer is attached beside it.

    Args:
        config: sizes and flavours.
        vae: the tokenizer. None: found through the config's path when first needed.
    """

    config_class = HARTForT2IConfig
    base_model_prefix = ""
    main_input_name = "context"
    supports_gradient_checkpointing = True
    _supports_sdpa = True  # attention is torch's scaled dot product
    _keep_in_fp32_modules_strict = ["head", "head_nm"]
    _keys_to_ignore_on_load_unexpected = [rf"^{name}$" for name in FUNCTIONS_OF_THE_CONFIG]

    def __init__(self, config: HARTForT2IConfig, vae: HARTAutoEncoder | None = None):
        super().__init__(config)
        # Read by the training pass only; transformers' `gradient_checkpointing_enable()` (newer name:
        # `activation_checkpointing_enable()`) sets it.
        self.gradient_checkpointing = False
        self._attached: dict[str, HARTAutoEncoder] = {}  # in a dict, so that it is no part of the state dict
        self.caching = StageCaching(config.patch_nums, config.depth)
        if vae is not None:
            self.attach_tokenizer(vae)
        c, dim, eps, flavour = config.latent_channels, config.embed_dim, config.norm_eps, config.attn_type
        self.word_embed = nn.Linear(c, dim)
        self.context_embed = nn.Linear(config.context_dim, dim)
        self.context_norm = RMSNorm(config.context_dim, eps) if config.use_context_norm else nn.Identity()
        num_stages = len(config.patch_nums)
        self.lvl_embed = TimestepEmbedder(dim) if config.use_timestep_embed else nn.Embedding(num_stages, dim)
        if flavour == "gpt2":
            self.pos_start = nn.Parameter(torch.zeros(1, config.context_token, dim))
            self.pos_1LC = nn.Parameter(torch.zeros(1, config.context_token + config.num_image_tokens - 1, dim))
        drop_path = [config.drop_path_rate * i / max(1, config.depth - 1) for i in range(config.depth)]
        self.blocks = nn.ModuleList(
            Block(
                index,
                dim,
                config.num_heads,
                config.mlp_ratio,
                flavour,
                config.mlp_type,
                eps,
                config.modulation,
                config.attn_l2_norm,
                config.drop_rate,
                config.attn_drop_rate,
                drop_path[index],
            )
            for index in range(config.depth)
        )
        self.head_nm = OutputModulation(dim, flavour, eps)
        self.head = nn.Linear(dim, config.codebook_size)
        self.decoder_norm = build_norm(flavour, dim, eps, affine=True)
        self.diffloss = ResidualDiffusionHead(c, dim, config.diff_width, config.diff_depth, config.num_sampling_steps)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        init_module(module)
        if isinstance(module, ResidualDiffusionHead):
            init_diffusion_weights(module)
        elif isinstance(module, SelfAttention):
            module.reset_biases()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> "HARTForT2I":
        """Load a checkpoint: its root or its `llm` folder, with the sibling `tokenizer`.

        Args:
            pretrained_model_name_or_path: folder or hub id.
            ema: load `ema_model.bin` or `.safetensors` where there is one (default), as the published tools do.
            vae: a tokenizer to attach instead of the sibling folder's.
            kwargs: as `transformers.PreTrainedModel.from_pretrained`, among them `revision`, `cache_dir`, `token`,
                `local_files_only` and `subfolder` for a hub id, `dtype` (or `torch_dtype`) and `device_map` (one
                device); the tokenizer stays in float32.

        Raises:
            FileNotFoundError, ValueError: one sentence naming the file, and the key where there is one.
        """
        return load_transformer(cls, super().from_pretrained, pretrained_model_name_or_path, args, kwargs)

    # -- the tokenizer beside the transformer ------------------------------------------------------------------------

    @property
    def vae(self) -> HARTAutoEncoder:
        """The tokenizer; found through the config's path when it is first needed.

        Raises:
            FileNotFoundError: none was given and the config's path has none beside it.
        """
        if not self._attached:
            self.attach_tokenizer(load_tokenizer(self.config))
        return self._attached["vae"]

    def attach_tokenizer(self, vae: HARTAutoEncoder) -> None:
        """Use this tokenizer, moved to the transformer's device; it follows `.to()` but is not saved with it.

        Raises:
            ValueError: its channels or codebook do not fit.
        """
        for name, ours, theirs in (
            ("z_channels", self.config.latent_channels, vae.config.z_channels),
            ("vocab_size", self.config.codebook_size, vae.config.vocab_size),
        ):
            if ours != theirs:
                raise ValueError(f"the tokenizer's {name} is {theirs}; the transformer was built for {ours}.")
        self._attached["vae"] = vae.eval().requires_grad_(False)
        if any(True for _ in self.parameters()):
            vae.to(self.device)

    def _apply(self, fn: Callable, *args: Any, **kwargs: Any) -> "HARTForT2I":
        for module in self._attached.values():
            module._apply(fn, *args, **kwargs)
        return super()._apply(fn, *args, **kwargs)

    # -- the parts that generation and training share ----------------------------------------------------------------

    def embed_text(self, context_RTD: Tensor) -> Tensor:
        """Text features [R, T, Dc] to the transformer's width [R, T, C]."""
        return self.context_embed(self.context_norm(context_RTD.float()).to(input_dtype(self.context_embed)))

    def level_table(self) -> Tensor:
        """Embedding [K, C] of every stage; text tokens have stage 0."""
        levels_K = torch.arange(len(self.config.patch_nums), device=self.device)
        return self.lvl_embed(levels_K)

    def pooled_text(self, text_RTC: Tensor, mask_RT: Tensor | None) -> Tensor | None:
        """What modulates the blocks, [R, C]; None in the released flavour."""
        if self.config.modulation == "none":
            return None
        if not self.config.averages_text:
            return text_RTC.amax(dim=1)
        if mask_RT is None:
            raise ValueError("context_mask is None; this flavour averages over text and needs a mask [B, T].")
        weight_RT1 = mask_RT.to(text_RTC.dtype).unsqueeze(-1)
        return (text_RTC * weight_RT1).sum(1) / weight_RT1.sum(1).clamp_min(1)

    def run_blocks(self, x_RnC: Tensor, stage: Stage) -> Tensor:
        """All blocks on a stage's tokens."""
        recompute = self.gradient_checkpointing and self.training and torch.is_grad_enabled()
        for block in self.blocks:
            x_RnC = checkpoint(block, x_RnC, stage, use_reentrant=False) if recompute else block(x_RnC, stage)
        return x_RnC

    def get_logits(self, x_RnC: Tensor, condition: tuple[Tensor, Tensor], guidance: float | None = None) -> Tensor:
        """Logits in float32.

        Args:
            x_RnC: what the blocks gave.
            condition: `head_nm.condition(embedded text)`.
            guidance: scale of classifier-free guidance between the halves of the rows; None leaves them as they are.

        Returns:
            [R, n, V], or [R / 2, n, V] under guidance.
        """
        normed = self.head_nm(x_RnC, condition)
        if guidance is not None:  # before the layer, which is linear: half of its products, the same logits
            normed = guide(normed, guidance)
        return self.head(normed.to(input_dtype(self.head))).float()

    def diffusion_condition(self, x_RnC: Tensor, codes_Rnc: Tensor) -> Tensor:
        """What the diffusion head sees of each last-stage token, [R, n, C]."""
        return self.decoder_norm(x_RnC + self.word_embed(codes_Rnc.to(input_dtype(self.word_embed))))

    # -- the stage cache ---------------------------------------------------------------------------------------------

    def new_cache(self, rounds: int = 1, beside: BranchCache | None = None) -> BranchCache:
        """The cache of one generation; none unless one of the switches below is on.

        Args:
            rounds: in which the last stage is decoded.
            beside: the cache of the first picture that is painted at the same time; None where this is the first.
        """
        return self.caching.new_cache(self.blocks, rounds, beside)

    @property
    def use_cache(self) -> bool:
        """Whether stages may reuse features. True means the settings that `caching` holds, or `original-cache`."""
        return self.caching.is_enabled

    @use_cache.setter
    def use_cache(self, value: bool) -> None:
        if value:
            self.caching.enable()
        else:
            self.caching.disable()

    @property
    def calibration(self) -> bool:
        """Whether painting records true similarities (nothing is reused then) and writes them to `sim_path`.

        Each time it is switched on, a new record begins.
        """
        return self.caching.recording

    @calibration.setter
    def calibration(self, value: bool) -> None:
        self.caching.recording = value

    @property
    def sim_path(self) -> str | os.PathLike[str] | None:
        """File of the recorded table."""
        return self.caching.sim_path

    @sim_path.setter
    def sim_path(self, value: str | os.PathLike[str] | None) -> None:
        self.caching.sim_path = value

    # -- the two ways to run -----------------------------------------------------------------------------------------

    @torch.no_grad()
    def autoregressive_infer_cfg(
        self,
        B: int,
        label_B: Tensor | None,
        g_seed: Seed = None,
        cfg: float = 1.5,
        top_k: int = 0,
        top_p: float = 0.0,
        more_smooth: bool = False,
        context_position_ids: Tensor | None = None,
        context_mask: Tensor | None = None,
        final_stage: int = 0,
        num_maskgit_iters: int = 1,
        *,
        orders: Tensor | None = None,
        diffusion_noise: Sequence[Tensor] | None = None,
        callback_on_stage_end: Callable[[int, Any], Any] | None = None,
        decode: bool = True,
        negative_context: Tensor | None = None,
        negative_position_ids: Tensor | None = None,
        negative_mask: Tensor | None = None,
    ) -> Tensor:
        """Paint pictures, coarse to fine, under classifier-free guidance (paper section 3, spec section 6).

        Args:
            B: number of pictures.
            label_B: text features [B, T, Dc]; None paints unconditionally.
            g_seed: an int (picture b then uses g_seed + b), one int per picture, a `torch.Generator` that the whole
                batch shares in the published draw order, or None (drawn from torch's global generator).
            cfg: guidance scale at the end of the pyramid; it rises from 0 at the first stage.
            top_k: 0 means 600, then 300 from stage index 7; never more than the codebook.
            top_p: nucleus mass; 0 switches it off.
            more_smooth: mix codes by Gumbel-softmax instead of taking the drawn one.
            context_position_ids, context_mask: [B, T], as `encode_prompts` gives them.
            final_stage: 0 adds the diffusion head's residual, anything else leaves it out.
            num_maskgit_iters: rounds in which the last stage is decoded.
            orders: permutation [B, P*P] of the last stage's tokens, for more than one round.
            diffusion_noise: the head's noise in published draw order, over all rounds.
            callback_on_stage_end: called as (stage index, `StageInfo`) after every stage; the painting ends there if it
                returns False.
            decode: False returns the latent map [B, c, P, P] instead of pictures.
            negative_context, negative_position_ids, negative_mask: text features [B, T, Dc] that guidance leads away
                from, with positions and mask [B, T]; None are the zeros that the model was trained with.

        Returns:
            Pictures [B, 3, H, W] in [0, 1].

        Raises:
            ValueError: an argument that does not fit; the message names it.
        """
        inputs = GenerationInputs(
            B, label_B, g_seed, cfg, top_k, top_p, more_smooth, context_position_ids, context_mask, final_stage,
            num_maskgit_iters, orders, diffusion_noise, callback_on_stage_end,
            negative_context, negative_position_ids, negative_mask,
        )  # fmt: skip
        f_hat = generation.generate(self, inputs)
        return self.latent_to_img(f_hat) if decode else f_hat

    def latent_to_img(self, f_hat: Tensor) -> Tensor:
        """Pictures [B, 3, H, W] in [0, 1] of latent maps [B, c, P, P].

        Raises:
            ValueError: the latent map or what the decoder makes of it is not finite.
        """
        check_finite("the latent map is", f_hat, f_hat.dtype)
        at_once = 1 if generation.paints_one_by_one(f_hat.device) else len(f_hat)
        img = torch.cat([self.vae.fhat_to_img(part) for part in f_hat.split(at_once)])
        return img.float().add(1).mul(0.5)

    def forward(
        self,
        context: Tensor,
        x_in: Tensor,
        context_position_ids: Tensor,
        context_mask: Tensor,
        last_layer_gt: Tensor,
        last_layer_gt_discrete: Tensor,
        draws: "training.TrainingDraws | None" = None,
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Teacher-forced training pass (spec section 11).

        Args:
            context: text features [B, T, Dc].
            x_in: inputs of stages 1 .. K-1 [B, L-1, c], from `HARTHybridQuantizer.idxBl_to_var_input`.
            context_position_ids, context_mask: [B, T].
            last_layer_gt: remainder [B, P*P, c] that the last stage codes.
            last_layer_gt_discrete: its codes [B, P*P]; checked only, since the cross-entropy is the caller's to take.
            draws: what is otherwise drawn at random (kept tokens, dropped prompts, diffusion steps and noise).

        Returns:
            Logits [B, L-n, V] where n last-stage tokens are left out; the diffusion loss; and the index pair
            (row, position) of the kept last-stage tokens, for picking their targets.
        """
        inputs = training.TrainingInputs(
            context, x_in, context_position_ids, context_mask, last_layer_gt, last_layer_gt_discrete
        )
        return training.training_pass(self, inputs, draws)
