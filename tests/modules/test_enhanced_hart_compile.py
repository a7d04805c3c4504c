"""Branches compiled by `torch.compile` while the cache decides in plain Python."""

import pytest
import torch

from hart.modules.cache_config import HARTCacheConfig
from tests.modules.test_enhanced_hart import paint


@pytest.mark.slow
@pytest.mark.compile
def test_compiled_branches_need_no_new_graph_after_the_first_picture(tiny):
    from torch._dynamo.testing import CompileCounter

    tiny.set_cache_config(
        HARTCacheConfig(skip_stages=[16, 64], cache_stages=[4, 16], threshold=0.0, refresh_ratio={16: 0.5})
    )
    expected = paint(tiny, final_stage=1)
    torch._dynamo.reset()
    counter = CompileCounter()
    for block in tiny.blocks:
        for name in ("attention_branch", "mlp_branch"):
            setattr(block, name, torch.compile(getattr(block, name), backend=counter, fullgraph=True, dynamic=True))
    torch.testing.assert_close(paint(tiny, final_stage=1), expected)
    graphs = counter.frame_count
    assert graphs >= 1
    for seed in (3, 4):
        paint(tiny, seed, final_stage=1)
    assert counter.frame_count == graphs
