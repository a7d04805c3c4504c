"""Write a checkpoint with random weights, to time any size: `python benchmarks/random_checkpoint.py FOLDER`.

Its text model is the embedded one, so prompts work; its pictures mean nothing. The released model's size is
`--depth 24 --width 1536 --heads 24 --pyramid 1024 --channels 160 --diff_width 1024 --diff_depth 6 --context_token 300`.
"""

import argparse
import shutil
from pathlib import Path

import torch

from hart import embedded_model_path
from hart.modules.models.autoencoder import HARTAutoEncoderWithDisc, HARTAutoEncoderWithDiscConfig
from hart.modules.models.transformer import HARTForT2I, HARTForT2IConfig

TEN = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
PYRAMIDS = {
    "ten": TEN,
    "256": TEN,
    "512": (1, 2, 3, 4, 6, 9, 13, 18, 24, 32),
    "1024": (1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 27, 36, 48, 64),
    "2048": (1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 27, 36, 48, 64, 90, 128),
}
"""Sides by picture size in pixels; "ten" is 256, the embedded model's.

512 (VAR's) and 1024 (HART's) are published, 2048 goes on as 1024 begins.
"""


def build(arguments: argparse.Namespace) -> tuple[HARTForT2I, HARTAutoEncoderWithDisc]:
    """The released flavour at the size asked for, and its tokenizer."""
    torch.manual_seed(0)
    embedded = HARTForT2IConfig.from_pretrained(embedded_model_path())
    sides = PYRAMIDS[arguments.pyramid]
    tokenizer = HARTAutoEncoderWithDiscConfig(
        ch=arguments.channels, v_patch_nums=sides, quantizer_type="var_hybrid", vocab_size=arguments.codes
    )
    autoencoder = HARTAutoEncoderWithDisc(tokenizer)
    torch.nn.init.normal_(autoencoder.vae.quantize.embedding.weight, std=0.3)
    config = HARTForT2IConfig(
        context_token=arguments.context_token,
        context_dim=embedded.context_dim,
        depth=arguments.depth,
        embed_dim=arguments.width,
        num_heads=arguments.heads,
        attn_type="llama",
        mlp_type="llama",
        disable_aln=True,
        use_timestep_embed=True,
        use_context_norm=True,
        diff_width=arguments.diff_width,
        diff_depth=arguments.diff_depth,
        patch_nums=sides,
        latent_channels=tokenizer.z_channels,
        codebook_size=tokenizer.vocab_size,
    )
    return HARTForT2I(config, vae=autoencoder.vae), autoencoder


def main() -> None:
    """Build and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--pyramid", choices=PYRAMIDS, default="256", help="picture size in pixels")
    parser.add_argument("--channels", type=int, default=32, help="of the tokenizer at full resolution")
    parser.add_argument("--context_token", type=int, default=20, help="text tokens (released model: 300)")
    parser.add_argument("--codes", type=int, default=4096)
    parser.add_argument("--diff_width", type=int, default=512)
    parser.add_argument("--diff_depth", type=int, default=3)
    arguments = parser.parse_args()
    model, autoencoder = build(arguments)
    model.to(torch.bfloat16).save_pretrained(arguments.folder / "llm")
    autoencoder.to(torch.bfloat16).save_pretrained(arguments.folder / "tokenizer")
    text_model = embedded_model_path().parent / "text_encoder"
    shutil.copytree(text_model, arguments.folder / "text_encoder", dirs_exist_ok=True)
    (arguments.folder / "system_prompt.txt").write_text("")
    print(f"{arguments.folder}: {sum(p.numel() for p in model.parameters()):,} parameters")


if __name__ == "__main__":
    main()
