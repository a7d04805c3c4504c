"""Configurations of the autoencoder (the image tokenizer)."""

from itertools import pairwise
from pathlib import Path
from typing import Any

from hart.modules.models.editable_config import EditableConfig
from hart.utils.numbers import is_whole
from hart.utils.paths import check_model_type, named_in_errors

TEN_STAGES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)


class HARTAutoEncoderConfig(EditableConfig):
    """What an autoencoder is built from; field names and defaults are the published ones.

    Args:
        vocab_size: number of codes V in the codebook.
        z_channels: channels c of the latent map and of a code.
        ch: channels at full resolution; each level has `ch * ch_mult[level]`.
        dropout: dropout probability inside residual blocks.
        beta: weight of the commitment loss.
        using_znorm: look codes up by cosine instead of distance (plain quantisation only).
        quant_conv_ks: kernel size of the convolutions before and after quantisation.
        quant_resi: share a of the convolution in phi(h) = (1-a)*h + a*conv(h).
        share_quant_resi: number of phi convolutions shared by all stages; 0 means one per stage.
        v_patch_nums: sides of the token maps, coarse to fine: whole numbers from 1 that rise.
        ch_mult: channel multiplier per level; the downsampling factor is `2**(len(ch_mult)-1)`.
        quantizer_type: "var" or "var_hybrid".
        double_decoder: a second decoder for continuous latents.
        norm_groups: groups of every GroupNorm. Ours: the published model has 32, which at few channels would
            normalise each channel alone and lose absolute colour.

    Raises:
        ValueError: an unknown quantiser, or sides that do not rise.
    """

    model_type = "hart_autoencoder"

    def __init__(
        self,
        vocab_size: int = 4096,
        z_channels: int = 32,
        ch: int = 160,
        dropout: float = 0.0,
        beta: float = 0.25,
        using_znorm: bool = False,
        quant_conv_ks: int = 3,
        quant_resi: float = 0.5,
        share_quant_resi: int = 4,
        default_qresi_counts: int = 0,
        v_patch_nums: tuple[int, ...] = TEN_STAGES,
        test_mode: bool = False,
        ch_mult: tuple[int, ...] = (1, 1, 2, 2, 4),
        levels: tuple[int, ...] | None = (8, 8, 8, 6, 5),
        quantizer_type: str = "var",
        hybrid: bool = False,
        disable_quant_resi: bool = False,
        freeze_codebook_for_hybrid: bool = True,
        double_decoder: bool = False,
        norm_groups: int = 32,
        **kwargs: Any,
    ):
        if quantizer_type not in ("var", "var_hybrid"):
            raise ValueError(f"quantizer_type is {quantizer_type!r}; allowed are 'var' and 'var_hybrid'.")
        self.vocab_size = vocab_size
        self.z_channels = z_channels
        self.ch = ch
        self.dropout = dropout
        self.beta = beta
        self.using_znorm = using_znorm
        self.quant_conv_ks = quant_conv_ks
        self.quant_resi = quant_resi
        self.share_quant_resi = share_quant_resi
        self.default_qresi_counts = default_qresi_counts
        self.v_patch_nums = tuple(v_patch_nums) if isinstance(v_patch_nums, list | tuple) else v_patch_nums
        if not rise(self.v_patch_nums):
            raise ValueError(f"v_patch_nums is {self.v_patch_nums!r}; allowed are whole numbers from 1 that rise.")
        self.test_mode = test_mode
        self.ch_mult = tuple(ch_mult)
        self.levels = None if levels is None else tuple(levels)
        self.quantizer_type = quantizer_type
        self.hybrid = hybrid
        self.disable_quant_resi = disable_quant_resi
        self.freeze_codebook_for_hybrid = freeze_codebook_for_hybrid
        self.double_decoder = double_decoder
        self.norm_groups = norm_groups
        super().__init__(**kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> Any:
        """Read `config.json` of a tokenizer's folder.

        Raises:
            FileNotFoundError: no such file.
            ValueError: it describes another kind of model, or one that cannot be built; the file is named.
        """
        file = Path(pretrained_model_name_or_path) / "config.json"
        if not file.is_file():
            raise FileNotFoundError(f"{str(file)!r} does not exist; give a tokenizer's folder.")
        check_model_type(file.parent, cls.model_type)
        with named_in_errors(file):
            return super().from_pretrained(file.parent, **kwargs)

    @property
    def downsample(self) -> int:
        """Picture pixels per latent position along a side."""
        return 2 ** (len(self.ch_mult) - 1)


def rise(sides: Any) -> bool:
    """Whether these are sides of token maps, coarse to fine: a tuple of whole numbers from 1, each above the last."""
    whole = isinstance(sides, tuple) and len(sides) > 0 and all(is_whole(side) and side >= 1 for side in sides)
    return whole and all(below < above for below, above in pairwise(sides))


class HARTAutoEncoderWithDiscConfig(HARTAutoEncoderConfig):
    """The same fields; the checkpoint holds the autoencoder under `vae.` and a discriminator that is not loaded."""

    model_type = "hart_autoencoder_with_disc"

    def __init__(self, **kwargs: Any):
        # Recent transformers would otherwise generate a constructor that knows none of the fields' defaults.
        super().__init__(**kwargs)
