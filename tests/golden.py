"""Golden numbers: where the fixture files lie and how to read them.

The files were produced by running the published HART on CPU in float32; `fixtures/README.md` says how. A `<name>`
is a file pair `<name>.safetensors` and `<name>.json`, for example `llm.argmax` or `units`.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

FIXTURES = Path(__file__).parent / "fixtures"
TOKENIZER = FIXTURES / "tokenizer"
TEXT_MODEL = FIXTURES / "text_model"
TRANSFORMERS = ("llm", "llm_l2norm", "llm_adaln", "llm_adaln_max", "llm_shared_aln", "llm_gpt2")


def load(name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read one recorded run: its tensors and what the json beside them says about it."""
    return load_file(FIXTURES / f"{name}.safetensors"), json.loads((FIXTURES / f"{name}.json").read_text())


def weights(folder: str, prefix: str = "") -> dict[str, torch.Tensor]:
    """Read the weights of a fixture checkpoint as float32, keeping the keys under `prefix` and cutting it off."""
    path = FIXTURES / folder / "model.safetensors"
    state = load_file(path) if path.exists() else torch.load(path.with_name("pytorch_model.bin"), weights_only=True)
    cut = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
    return {key: value.float() if value.is_floating_point() else value for key, value in cut.items()}
