"""Compiled branches paint the same pictures, and every layer is compiled."""

import pytest
import torch

from hart.benchmark.run.batches import compile_branches
from hart.modules.enhanced_hart import EnhancedHARTForT2I
from tests.modules.models.transformer.conftest import build


@pytest.mark.compile
def test_compiled_branches():
    from torch._dynamo.testing import CompileCounter

    model = EnhancedHARTForT2I.from_hart(build(depth=10), "no-cache")
    expected = model.autoregressive_infer_cfg(1, None, 3, final_stage=1)
    torch._dynamo.reset()
    counter = CompileCounter()
    compile_branches(model, backend=counter, fullgraph=True)
    painted = model.autoregressive_infer_cfg(1, None, 3, final_stage=1)
    torch.testing.assert_close(painted, expected, atol=1e-4, rtol=0)
    graphs = counter.frame_count
    assert graphs >= 10
    model.autoregressive_infer_cfg(1, None, 4, final_stage=1)
    assert counter.frame_count == graphs
