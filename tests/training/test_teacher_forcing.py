"""The prepared pass gives the losses of the plain one, and never makes the host wait."""

import contextlib
from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from hart.modules.models.transformer.training import join_stages, stage_causal_mask
from hart.modules.networks.stage import Stage
from tests.training.toys import transformer_training
from training import teacher_forcing
from training.captions import Captions, CaptionTable, tokenised, wordings
from training.common import draw_places
from training.data import training_scenes
from training.meter import Averages
from training.teacher_forcing import TeacherForcing, disturbed_codes, stage_spans
from training.text import CONTEXT_TOKENS, build_tokenizer

CPU = torch.device("cpu")
# What reads a tensor's values on the host, on any device.
WAITING = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal"}


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    return transformer_training(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def captions() -> Captions:
    texts = ["a 3d fox on a white background", "a small flat owl on a green background at the top right"]
    return tokenised(texts, build_tokenizer(), CPU)


def plain_losses(training, f, captions) -> torch.Tensor:
    """Cross-entropy per stage with one mask over all tokens, positions per batch and the text model's own mask."""
    model, codes = training.model, disturbed_codes(training.vae.quantize, f, 0.0)
    mask = (torch.arange(CONTEXT_TOKENS) < captions.length_B[:, None]).long()
    context = training.text(input_ids=captions.tokens_BT, attention_mask=mask).last_hidden_state
    text, sides = model.embed_text(context), model.config.patch_nums
    x, rope, levels = join_stages(model, text, mask.cumsum(1) - 1, codes.x_in, len(sides))
    x = model.run_blocks(x, Stage(0, rope=rope, mask=stage_causal_mask(levels)))[:, CONTEXT_TOKENS - 1 :]
    logits = model.get_logits(x, model.head_nm.condition(text))
    sizes = [side * side for side in sides]
    pairs = zip(logits.split(sizes, 1), codes.targets.split(sizes, 1), strict=True)
    return torch.stack([F.cross_entropy(part.flatten(0, 1), target.flatten()) for part, target in pairs])


def test_the_prepared_pass_is_the_plain_one(training, captions, monkeypatch):
    monkeypatch.setattr(teacher_forcing, "autocast", lambda device: contextlib.nullcontext())
    f = torch.randn(2, 16, 16, 16)
    passes, gradients = TeacherForcing(training.model, training.text, drop_prompt=0.0), []
    losses = [plain_losses(training, f, captions), passes(f, captions, train=True).cross_entropy]
    for loss in losses:
        training.all.zero_grad()
        loss.sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in training.text.parameters()]))
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-5)


def test_dropped_prompts_are_zeros_at_position_zero(training, captions):
    passes = TeacherForcing(training.model, training.text, drop_prompt=1.0)
    text, length = passes._encode_text(captions, drop=1.0)
    assert length.tolist() == [1, 1]
    torch.testing.assert_close(text, training.model.embed_text(torch.zeros(2, CONTEXT_TOKENS, 256)))


def test_spans_cover_everything_once_and_mask_only_what_needs_it(training):
    spans, levels = training.passes.spans, training.passes.levels_n
    assert spans[0].start == 0 and spans[-1].stop == len(levels)
    assert all(one.stop == other.start for one, other in pairwise(spans))
    allowed = torch.zeros(len(levels), len(levels), dtype=torch.bool)
    for start, stop, mask in spans:
        allowed[start:stop, :stop] = True if mask is None else mask[0, 0]
    assert torch.equal(allowed, stage_causal_mask(levels)[0, 0])
    assert [span.mask is None for span in spans] == [False, True, True, True]
    assert [span[:2] for span in stage_spans(torch.tensor([0, 0, 1, 1, 1]))] == [(0, 5)]


class NoWaiting(TorchDispatchMode):
    """Refuses operations whose result the host reads, or whose shape depends on values."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().partition(".")[0]
        assert name not in WAITING, name
        if name == "aten::index":
            assert all(index is None or index.dtype != torch.bool for index in args[1]), "a mask as index"
        return func(*args, **(kwargs or {}))


def test_a_step_reads_nothing_back(training):
    averages = Averages()
    with NoWaiting():
        averages.add(training.backward(0.5))
        torch.nn.utils.clip_grad_norm_(training.optimizer.parameters, 1.0)
    assert len(averages.take()["cross_entropy"]) == 10


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_step_on_cuda_makes_no_host_wait(training):
    training.all.to("cuda")
    passes = TeacherForcing(training.model, training.text, drop_prompt=0.1)
    f = torch.randn(2, 16, 16, 16, device="cuda")
    captions = tokenised(["a 3d fox on a white background"] * 2, build_tokenizer(), f.device)
    passes(f, captions, 0.5, train=True).cross_entropy.sum().backward()
    torch.cuda.set_sync_debug_mode("error")
    try:
        losses = passes(f, captions, 0.5, train=True)
        losses.cross_entropy.sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
        training.all.to("cpu")
    assert torch.isfinite(losses.cross_entropy).all()


def test_captions_are_drawn_with_their_synonyms():
    scenes, tokenizer = training_scenes()[:3], build_tokenizer()
    chosen = torch.tensor([2] * 400)
    always, never = (CaptionTable(scenes, tokenizer, CPU, chance).draw(chosen) for chance in (1.0, 0.0))
    texts = wordings(scenes[2])
    assert set(tokenizer.batch_decode(always.tokens_BT, skip_special_tokens=True)) == set(texts[1:])
    assert set(tokenizer.batch_decode(never.tokens_BT, skip_special_tokens=True)) == {texts[0]}
    assert never.length_B.tolist() == [len(texts[0].split())] * 400


def test_places_are_drawn_by_their_chances():
    torch.manual_seed(0)
    drawn = draw_places(torch.tensor([0.0, 0.25, 0.0, 0.75, 0.0]), 4000)
    shares = drawn.bincount(minlength=5) / 4000
    torch.testing.assert_close(shares, torch.tensor([0.0, 0.25, 0.0, 0.75, 0.0]), atol=0.03, rtol=0)


def test_averages_weigh_by_samples():
    averages = Averages()
    averages.add({"loss": torch.tensor([1.0, 2.0])}, 3)
    averages.add({"loss": torch.tensor([5.0, 2.0]), "other": torch.tensor(0.12345)})
    assert averages.take() == {"loss": [2.0, 2.0], "other": 0.123}
    assert averages.take() == {}
