"""Import paths that users of the published code have, and what importing costs."""

import importlib
import subprocess
import sys

import pytest

PATHS = {
    "hart.modules.models.transformer": ["HARTForT2I", "HARTForT2IConfig"],
    "hart.modules.models.transformer.configuration": ["HARTForT2IConfig"],
    "hart.modules.models.transformer.hart_transformer_t2i": ["HARTForT2I"],
    "hart.modules.models.autoencoder": [
        "HARTAutoEncoder",
        "HARTAutoEncoderConfig",
        "HARTAutoEncoderWithDisc",
        "HARTAutoEncoderWithDiscConfig",
        "HARTHybridQuantizer",
    ],
    "hart.modules.models.autoencoder.quantize": ["HARTHybridQuantizer"],
    "hart.modules.networks.basic_hart": ["Block", "SelfAttention", "GatedMLP", "GeluMLP", "RMSNorm"],
    "hart.modules.diffusion": ["ResidualDiffusionHead"],
    "hart.modules.cache_config": ["HARTCacheConfig"],
    "hart.modules.cache.schedule": ["register_schedule"],
    "hart.modules.cache.selector": ["register_selector"],
    "hart.compare": ["Comparison", "Row", "compare_presets"],
    "hart.modules.cache_planner": ["CacheProposal"],
}


@pytest.mark.parametrize("path", PATHS)
def test_published_import_paths(path):
    module = importlib.import_module(path)
    for name in PATHS[path]:
        assert getattr(module, name).__name__ == name


def test_every_path_leads_to_the_same_class():
    blocks = importlib.import_module("hart.modules.networks.basic_hart")
    assert blocks.Block is importlib.import_module("hart.modules.networks.block").Block


def test_importing_hart_brings_no_torch():
    code = "import sys, hart; print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
