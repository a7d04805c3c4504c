"""The image tokenizer: pictures to residual token maps and back (HART paper, section 3.1)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hart.modules.models.autoencoder.configuration import HARTAutoEncoderConfig, HARTAutoEncoderWithDiscConfig
from hart.modules.models.autoencoder.quantize import HARTHybridQuantizer
from hart.modules.networks.vae_blocks import Decoder, Encoder
from hart.utils.checkpoint import check_state, find_weights, no_progress_bar, read_state
from hart.utils.finite import check_finite

CODE_HITS = "vae.quantize.ema_vocab_hit_SV"


class HARTAutoEncoder(PreTrainedModel):
    """Encoder, hybrid quantiser and decoder.

    Pictures are [B, 3, H, W] in [-1, 1]; the latent map has sides H / `config.downsample`.
    """

    config_class = HARTAutoEncoderConfig
    base_model_prefix = "vae"
    main_input_name = "img"

    def __init__(self, config: HARTAutoEncoderConfig):
        super().__init__(config)
        c, padding = config.z_channels, config.quant_conv_ks // 2
        sizes = (config.ch, config.ch_mult, c, config.dropout, config.norm_groups)
        self.encoder = Encoder(*sizes)
        self.decoder = Decoder(*sizes)
        self.quantize = HARTHybridQuantizer(
            config.vocab_size,
            c,
            config.v_patch_nums,
            config.quant_resi,
            config.share_quant_resi,
            config.beta,
            config.using_znorm,
        )
        self.quant_conv = nn.Conv2d(c, c, config.quant_conv_ks, padding=padding)
        self.post_quant_conv = nn.Conv2d(c, c, config.quant_conv_ks, padding=padding)
        if config.double_decoder:
            self.decoder2 = Decoder(*sizes)
            self.post_quant_conv2 = nn.Conv2d(c, c, config.quant_conv_ks, padding=padding)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            nn.init.uniform_(module.weight, -1 / module.num_embeddings, 1 / module.num_embeddings)
        elif isinstance(module, nn.Conv2d | nn.GroupNorm):
            module.reset_parameters()
        elif isinstance(module, HARTHybridQuantizer):
            nn.init.zeros_(module.ema_vocab_hit_SV)

    # -- pictures to latents -------------------------------------------------------------------------------------

    def img_to_latent(self, img: Tensor) -> Tensor:
        """Continuous latent map [B, c, P, P] of pictures."""
        return self.quant_conv(self.encoder(img))

    def img_to_idxBl(self, img: Tensor, v_patch_nums: Sequence[int] | None = None) -> list[Tensor]:
        """Code indices [B, p*p] of every stage, phi applied at all of them."""
        return self.quantize.f_to_idxBl_or_fhat(self.img_to_latent(img), to_fhat=False, v_patch_nums=v_patch_nums)

    def img_to_idxBl_and_frest(
        self, img: Tensor, v_patch_nums: Sequence[int] | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Training targets of the transformer: indices and the remainder [B, P*P, c] that the last stage codes."""
        return self.quantize.f_to_idxBl_and_frest(self.img_to_latent(img), v_patch_nums)

    # -- latents to pictures -------------------------------------------------------------------------------------

    def fhat_to_img(self, f_hat: Tensor) -> Tensor:
        """Pictures [B, 3, H, W] in [-1, 1] of accumulated maps [B, c, P, P].

        Raises:
            ValueError: the decoder gives values that are not finite.
        """
        # With channels last, convolutions and normalisation take about a sixth less time on CPU.
        f_hat = f_hat.to(self.post_quant_conv.weight.dtype, memory_format=torch.channels_last)
        img = self.decoder(self.post_quant_conv(f_hat))
        check_finite("pictures of the decoder are", img, f_hat.dtype)  # before infinity is clamped to white
        return img.clamp(-1, 1).contiguous()

    def idxBl_to_img(
        self, ms_idx_Bl: Sequence[Tensor], same_shape: bool = True, last_one: bool = False
    ) -> Tensor | list[Tensor]:
        """Pictures of code indices after every stage, or with `last_one` after the last.

        Raises:
            ValueError: `same_shape=False`, which would decode each stage at its own size.
        """
        if not same_shape:
            raise ValueError("same_shape is False; allowed is True (maps are decoded at the size of the last stage).")
        maps = self.quantize.idxBl_to_fhat(ms_idx_Bl, all_stages=True)
        return self.fhat_to_img(maps[-1]) if last_one else [self.fhat_to_img(f_hat) for f_hat in maps]

    def img_to_reconstructed_img(
        self, img: Tensor, v_patch_nums: Sequence[int] | None = None, last_one: bool = False
    ) -> Tensor | list[Tensor]:
        """Pictures rebuilt from discrete codes after every stage, or with `last_one` after the last."""
        maps = self.quantize.f_to_idxBl_or_fhat(self.img_to_latent(img), to_fhat=True, v_patch_nums=v_patch_nums)
        return self.fhat_to_img(maps[-1]) if last_one else [self.fhat_to_img(f_hat) for f_hat in maps]

    def forward(self, img: Tensor, skip_continuous_prob: float = 0.0) -> tuple[Tensor, list[float], Tensor]:
        """Reconstruct for training: picture (not clamped), codebook usage in percent, quantisation loss."""
        f_hat, usage, loss, _ = self.quantize(self.img_to_latent(img), skip_continuous_prob)
        return self.decoder(self.post_quant_conv(f_hat)), usage, loss


class HARTAutoEncoderWithDisc(PreTrainedModel):
    """The published checkpoint's outer shell: the autoencoder as `vae`; `disc.*` keys are ignored when loading."""

    config_class = HARTAutoEncoderWithDiscConfig
    main_input_name = "img"
    _keys_to_ignore_on_load_unexpected = [r"^disc\."]

    def __init__(self, config: HARTAutoEncoderWithDiscConfig):
        super().__init__(config)
        self.vae = HARTAutoEncoder(HARTAutoEncoderConfig(**_fields(config)))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        self.vae._init_weights(module)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Load a tokenizer's folder.

        Raises:
            FileNotFoundError, ValueError: one sentence naming the file, and the key where there is one.
        """
        if pretrained_model_name_or_path is None:
            return super().from_pretrained(None, *args, **kwargs)
        folder = Path(pretrained_model_name_or_path)
        config = kwargs.pop("config", None) or cls.config_class.from_pretrained(folder)
        file = find_weights(folder, ema=False)
        state = {key: value for key, value in read_state(file).items() if not key.startswith("disc.")}
        # Statistics that nothing reads; a checkpoint may have counted them for another number of stages (spec 8.1).
        hits, counted = torch.zeros(len(config.v_patch_nums), config.vocab_size), state.get(CODE_HITS)
        state[CODE_HITS] = counted if counted is not None and counted.shape == hits.shape else hits
        check_state(cls, config, state, file)
        with no_progress_bar():
            return super().from_pretrained(None, *args, config=config, state_dict=state, **kwargs)

    def forward(self, img: Tensor, skip_continuous_prob: float = 0.0) -> tuple[Tensor, list[float], Tensor]:
        return self.vae(img, skip_continuous_prob)


def _fields(config: HARTAutoEncoderConfig) -> dict[str, Any]:
    fields = config.to_dict()
    return {name: value for name, value in fields.items() if name not in ("model_type", "architectures")}
