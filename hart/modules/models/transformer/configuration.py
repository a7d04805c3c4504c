"""Configurations of the transformer."""

from typing import Any

from hart.modules.models.autoencoder.configuration import TEN_STAGES, rise
from hart.modules.models.editable_config import EditableConfig
from hart.utils.paths import named_in_errors, transformer_folder

CHOICES = {
    "mlp_type": ("llama", "gpt2"),
    "attn_type": ("llama", "gpt2"),
    "sep_aln_pooling_mode": ("max", "avg"),
    "sampler": ("iddpm",),
}
COUNTS = (
    "context_token",
    "context_dim",
    "depth",
    "embed_dim",
    "num_heads",
    "diff_width",
    "diff_depth",
    "diffusion_batch_mul",
    "latent_channels",
    "codebook_size",
)
RATES = ("drop_rate", "attn_drop_rate", "drop_path_rate", "cond_drop_rate")


class HARTForT2IConfig(EditableConfig):
    """What a text-to-image HART is built from; field names and defaults are the published ones.

    Args:
        vae_path: folder of the tokenizer; None means the sibling `tokenizer` of the folder this was read from.
        context_token: text tokens T in front of the picture.
        context_dim: hidden size Dc of the text model.
        depth, embed_dim, num_heads, mlp_ratio: size of the transformer (C = embed_dim).
        drop_rate, attn_drop_rate, drop_path_rate: dropout in training; the last rises linearly over depth.
        norm_eps: epsilon of the norms.
        shared_aln, disable_aln: how text modulates the blocks. AdaLN unless `disable_aln`; then a shared table
            plus the text with `shared_aln`, else nothing (the released model).
        cond_drop_rate: share of prompts dropped in training, for classifier-free guidance.
        attn_l2_norm: normalise queries and keys.
        patch_nums: sides of the token maps, coarse to fine, starting at 1 and rising.
        mlp_type, attn_type: "llama" or "gpt2".
        use_timestep_embed: embed the stage by sinusoids and an MLP instead of a table.
        sep_aln_pooling_mode: "max" or "avg" over text tokens, for AdaLN.
        diff_width, diff_depth, num_sampling_steps, diffusion_batch_mul, sampler: the residual diffusion head.
        use_context_norm: normalise the text features first.
        latent_channels, codebook_size: the tokenizer's c and V. Ours; a loaded checkpoint's weights set them.

    Raises:
        ValueError: a field that the model cannot be built with; the message names it and what is allowed.
    """

    model_type = "hart_transformer_t2i"

    def __init__(
        self,
        vae_path: str | None = None,
        context_token: int = 77,
        context_dim: int = 768,
        depth: int = 16,
        embed_dim: int = 1024,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        norm_eps: float = 1e-6,
        shared_aln: bool = False,
        cond_drop_rate: float = 0.1,
        attn_l2_norm: bool = False,
        patch_nums: tuple[int, ...] = TEN_STAGES,
        flash_if_available: bool = True,
        fused_if_available: bool = True,
        mlp_type: str = "gpt2",
        attn_type: str = "gpt2",
        disable_aln: bool = False,
        use_timestep_embed: bool = False,
        sep_aln_pooling_mode: str = "max",
        use_cross_attn: bool = False,
        diff_width: int = 1024,
        diff_depth: int = 6,
        num_sampling_steps: str = "8",
        diffusion_batch_mul: int = 4,
        sampler: str = "iddpm",
        use_context_norm: bool = False,
        context_norm_scale: float = 1.0,
        diffusion_head_repeats: int = 1,
        latent_channels: int = 32,
        codebook_size: int = 4096,
        **kwargs: Any,
    ):
        self.vae_path = vae_path
        self.context_token = context_token
        self.context_dim = context_dim
        self.depth = depth
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.mlp_ratio = mlp_ratio
        self.drop_rate = drop_rate
        self.attn_drop_rate = attn_drop_rate
        self.drop_path_rate = drop_path_rate
        self.norm_eps = norm_eps
        self.shared_aln = shared_aln
        self.cond_drop_rate = cond_drop_rate
        self.attn_l2_norm = attn_l2_norm
        self.patch_nums = tuple(patch_nums) if isinstance(patch_nums, list | tuple) else patch_nums
        self.flash_if_available = flash_if_available
        self.fused_if_available = fused_if_available
        self.mlp_type = mlp_type
        self.attn_type = attn_type
        self.disable_aln = disable_aln
        self.use_timestep_embed = use_timestep_embed
        self.sep_aln_pooling_mode = sep_aln_pooling_mode
        self.use_cross_attn = use_cross_attn
        self.diff_width = diff_width
        self.diff_depth = diff_depth
        self.num_sampling_steps = str(num_sampling_steps)
        self.diffusion_batch_mul = diffusion_batch_mul
        self.sampler = sampler
        self.use_context_norm = use_context_norm
        self.context_norm_scale = context_norm_scale
        self.diffusion_head_repeats = diffusion_head_repeats
        self.latent_channels = latent_channels
        self.codebook_size = codebook_size
        self._check()
        super().__init__(**kwargs)

    @property
    def modulation(self) -> str:
        """How text modulates a block: "adaln", "shared" or "none"."""
        if not self.disable_aln:
            return "adaln"
        return "shared" if self.shared_aln else "none"

    @property
    def averages_text(self) -> bool:
        """Whether modulation averages over the text tokens of a mask, so that a mask is needed."""
        return self.modulation == "shared" or (self.modulation == "adaln" and self.sep_aln_pooling_mode == "avg")

    @property
    def num_image_tokens(self) -> int:
        """Tokens L of all stages together."""
        return sum(side * side for side in self.patch_nums)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> "HARTForT2IConfig":
        """Read `config.json` of a checkpoint (its root or its `llm` folder) and remember where it was.

        Raises:
            FileNotFoundError: no such folder, or no `config.json` in it.
            ValueError: the file describes another kind of model, or one that cannot be built; the file is named.
        """
        folder = transformer_folder(pretrained_model_name_or_path, cls.model_type)
        with named_in_errors(folder / "config.json"):
            result = super().from_pretrained(folder, **kwargs)
        config = result[0] if isinstance(result, tuple) else result
        config.name_or_path = str(folder)
        return result

    def _check(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed: {', '.join(map(repr, allowed))}.")
        for name in COUNTS:
            if not _is_count(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed is a whole number from 1.")
        for name in RATES:
            if not _is_rate(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed is a number from 0 to 1.")
        if self.use_cross_attn:
            raise ValueError("use_cross_attn is True; allowed is False (the published code mixes the batch's prompts).")
        sides = self.patch_nums
        if not rise(sides) or len(sides) < 2 or sides[0] != 1:
            raise ValueError(f"patch_nums is {sides!r}; allowed are at least two rising sides that start at 1.")
        # Imported here, so that a config can be named without loading the diffusion head.
        from hart.modules.diffusion.schedule import NUM_BASE_STEPS, respaced_steps

        respaced_steps(NUM_BASE_STEPS, self.num_sampling_steps)
        if self.embed_dim % self.num_heads or (self.attn_type == "llama" and self.embed_dim // self.num_heads % 4):
            raise ValueError(
                f"num_heads is {self.num_heads}; allowed are divisors of embed_dim {self.embed_dim} "
                "that leave a head width divisible by 4."
            )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_rate(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
