"""Painting on a CUDA device."""

import pytest
import torch

from hart.modules.models.transformer import HARTForT2I


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_picture_is_painted_on_cuda(dtype, checkpoint_root):
    model = HARTForT2I.from_pretrained(checkpoint_root, dtype=dtype).to("cuda").eval()
    context = {"label_B": torch.randn(1, 12, 48), "context_position_ids": torch.arange(12)[None]}
    img = model.autoregressive_infer_cfg(1, **context, g_seed=1, cfg=3.0)
    assert img.device.type == "cuda" and img.dtype == torch.float32
    assert torch.isfinite(img).all() and img.std() > 0
    generator = torch.Generator("cuda").manual_seed(1)
    assert model.autoregressive_infer_cfg(1, **context, g_seed=generator, cfg=3.0).shape == img.shape
    with pytest.raises(ValueError, match="generator on 'cpu'"):
        model.autoregressive_infer_cfg(1, **context, g_seed=torch.Generator())
