"""Attention by spans is attention under the mask that the spans stand for."""

import pytest
import torch

from hart.modules.networks.attention import SelfAttention, attend, attend_spans
from hart.modules.networks.stage import Span, Stage

SPANS = (Span(0, 4, torch.ones(4, 4, dtype=torch.bool).tril()[None, None]), Span(4, 7), Span(7, 12))


def whole_mask() -> torch.Tensor:
    mask = torch.zeros(12, 12, dtype=torch.bool)
    for start, stop, part in SPANS:
        mask[start:stop, :stop] = True if part is None else part[0, 0]
    return mask[None, None]


@pytest.mark.parametrize("gradients", [True, False])
def test_spans_give_what_the_mask_gives(gradients):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, 12, 8, requires_grad=gradients) for _ in range(3))
    outputs = [attend(q, k, v, whole_mask(), 0.0, 0.3), attend_spans(q, k, v, SPANS, 0.0, 0.3)]
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-5, atol=1e-6)
    if gradients:
        weight = torch.randn_like(q)
        plain, spanned = (torch.autograd.grad((out * weight).sum(), (q, k, v)) for out in outputs)
        torch.testing.assert_close(spanned, plain, rtol=1e-4, atol=1e-6)


def test_a_layer_takes_spans_instead_of_a_mask():
    torch.manual_seed(0)
    layer, x = SelfAttention(0, 24, 3, "llama"), torch.randn(2, 12, 24)
    out = layer(x, Stage(0, spans=SPANS))
    torch.testing.assert_close(out, layer(x, Stage(0, mask=whole_mask())), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(out, layer(x, Stage(0)))
