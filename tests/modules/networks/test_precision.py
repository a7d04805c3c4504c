"""Layers are asked for the dtype of their input, also those that have none."""

import pytest
import torch
from torch import nn

from hart.modules.models.transformer import HARTForT2I
from hart.modules.networks.precision import input_dtype
from tests.golden import FIXTURES


def test_the_dtype_of_a_layer():
    assert input_dtype(nn.Linear(2, 2)) == torch.float32
    assert input_dtype(nn.Linear(2, 2, dtype=torch.bfloat16)) == torch.bfloat16
    assert input_dtype(nn.SiLU()) == torch.float32


@pytest.mark.filterwarnings("ignore")
def test_layers_outside_the_blocks_may_be_quantised_dynamically():
    model = HARTForT2I.from_pretrained(FIXTURES / "llm")
    expected = model.autoregressive_infer_cfg(1, None, g_seed=1, cfg=2.0)
    for name in ("lvl_embed", "context_embed", "word_embed", "head_nm", "head", "diffloss"):
        part = nn.Sequential(getattr(model, name))
        setattr(model, name, torch.ao.quantization.quantize_dynamic(part, {nn.Linear}, dtype=torch.qint8)[0])
    painted = model.autoregressive_infer_cfg(1, None, g_seed=1, cfg=2.0)
    assert painted.shape == expected.shape and torch.isfinite(painted).all()
    assert not torch.equal(painted, expected)
