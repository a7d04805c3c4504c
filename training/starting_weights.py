"""Where a new run gets its weights from: those that ship, another run's, or none."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from training.common import EMBEDDED
from training.pieces import load_export

SHIPPED, FROM_SCRATCH = "shipped", "scratch"
WORDS = "text.embed_tokens.weight"
# Projections that write into the residual stream: with these at zero a new block changes nothing at first.
LAST_OF_A_BLOCK = ("attn.proj.weight", "ffn.down_proj.weight")


def start_from(start: str, modules: nn.ModuleDict, words: Sequence[str]) -> str:
    """Give modules starting weights where the shapes agree.

    Args:
        start: `SHIPPED`, `FROM_SCRATCH` or the folder of a run.
        modules: `hart` and `text`; both keep their own weights where nothing fits.
        words: vocabulary of the text model to train.

    Returns:
        One sentence on what was done.

    Raises:
        ValueError: `start` names no run.
    """
    if start == FROM_SCRATCH:
        return "Trained from scratch."
    tensors, old_words = shipped_weights() if start == SHIPPED else run_weights(Path(start))
    own = modules.state_dict()
    width, old_width = own["hart.word_embed.weight"].shape[0], tensors["hart.word_embed.weight"].shape[0]
    if width != old_width:
        return f"Trained from scratch: the weights of {start!r} have width {old_width}, this model has {width}."
    tensors[WORDS] = remapped(tensors[WORDS], old_words, own[WORDS], words)
    fitting = {name: value for name, value in tensors.items() if name in own and own[name].shape == value.shape}
    _begin_as_identity(modules, set(own) - set(fitting))
    modules.load_state_dict(fitting, strict=False)
    return f"Started from {start!r}: {len(fitting)} of {len(own)} tensors agree in shape, the rest is new."


def shipped_weights() -> tuple[dict[str, Tensor], list[str]]:
    """Weights that ship, in float32, and the words of their text model in order."""
    tensors = {}
    for prefix, folder in (("hart", "llm"), ("text", "text_encoder")):
        for name, value in load_file(EMBEDDED / folder / "model.safetensors").items():
            tensors[f"{prefix}.{name}"] = value.float()
    words = json.loads((EMBEDDED / "text_encoder" / "tokenizer.json").read_text())["model"]["vocab"]
    return tensors, sorted(words, key=words.__getitem__)


def run_weights(folder: Path) -> tuple[dict[str, Tensor], list[str]]:
    export = load_export(folder)
    if export is None:
        raise ValueError(f"start must be {SHIPPED!r}, {FROM_SCRATCH!r} or a run's folder, got {str(folder)!r}.")
    tensors, facts = export
    return tensors, facts["vocabulary"]


def remapped(old: Tensor, old_words: Sequence[str], new: Tensor, words: Sequence[str]) -> Tensor:
    """Rows [V, C] for `words`: the old row of the same word, else the new model's own.

    Args:
        old, old_words: rows [V_old, C] and their words.
        new, words: rows [V, C] and their words.
    """
    place = {word: row for row, word in enumerate(old_words)}
    return torch.stack([old[place[word]] if word in place else new[row] for row, word in enumerate(words)])


@torch.no_grad()
def _begin_as_identity(modules: nn.ModuleDict, missing: set[str]) -> None:
    """Blocks beyond those of the old model add nothing at first."""
    for name, parameter in modules.named_parameters():
        if name in missing and name.startswith("hart.blocks.") and name.endswith(LAST_OF_A_BLOCK):
            parameter.zero_()
