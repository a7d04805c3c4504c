"""The quantiser: resizing, stages that add up, gradients, and sides that do not fit."""

import random

import pytest
import torch

from hart.modules.models.autoencoder import HARTHybridQuantizer
from tests.golden import load

UNITS, _ = load("units")
SIDES = (1, 2, 4)


def quantizer(**settings) -> HARTHybridQuantizer:
    torch.manual_seed(0)
    quantizer = HARTHybridQuantizer(16, 4, SIDES, **settings)
    torch.nn.init.normal_(quantizer.embedding.weight)
    return quantizer


def latent(batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 4, 4, 4, generator=torch.Generator().manual_seed(1))


def test_growing_a_map_is_the_published_bicubic():
    bare = quantizer(quant_resi=0.0)
    ours = bare.contribution(0, 3, UNITS["resize.in3"], side=16)
    torch.testing.assert_close(ours, UNITS["resize.bicubic3to16"], rtol=0, atol=2e-6)


@pytest.mark.parametrize(("source", "target", "side"), [("in16", "area16to6", 6), ("in1to5", "area1to5", 5)])
def test_reading_the_next_input_is_the_published_area_mean(source, target, side):
    full = UNITS[f"resize.{source}"]
    nothing = torch.zeros(1, 4, 1, 1)
    f_hat, ours = quantizer(quant_resi=0.0).get_next_autoregressive_input(0, 2, full, nothing, (1, side))
    assert torch.equal(f_hat, full)
    torch.testing.assert_close(ours, UNITS[f"resize.{target}"], rtol=0, atol=2e-6)


def test_the_accumulated_map_is_not_changed_in_place():
    f_hat = latent()
    before = f_hat.clone()
    quantizer().get_next_autoregressive_input(0, 3, f_hat, torch.ones(2, 4, 1, 1))
    assert torch.equal(f_hat, before)


@torch.no_grad()
def test_codes_and_remainder_add_up_to_the_latent():
    """Training targets: maps of the stages before the last, plus what is left, are the picture's latent."""
    model, f = quantizer(), latent()
    idx, rest = model.f_to_idxBl_and_frest(f)
    sides = [round(part.shape[1] ** 0.5) for part in idx]
    assert sides == list(SIDES)
    f_hat = torch.zeros_like(f)
    for stage, side in enumerate(sides[:-1]):
        codes = model.embed_map(idx[stage].view(-1, side, side))
        f_hat, _ = model.get_next_autoregressive_input(stage, 3, f_hat, codes)
    torch.testing.assert_close(f_hat + rest.transpose(1, 2).view_as(f), f, rtol=0, atol=1e-5)


@torch.no_grad()
def test_indices_rebuild_the_map_they_came_from():
    model, f = quantizer(), latent()
    maps = model.f_to_idxBl_or_fhat(f, to_fhat=True)
    rebuilt = model.idxBl_to_fhat(model.f_to_idxBl_or_fhat(f, to_fhat=False), all_stages=True)
    for ours, expected in zip(rebuilt, maps, strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


def test_cosine_lookup_ignores_length():
    model = quantizer(using_znorm=True)
    codes = model.embedding.weight.detach()
    z = (3 * codes[5]).view(1, 4, 1, 1)
    assert model.lookup(z, cosine=True).item() == 5


def test_the_continuous_remainder_makes_the_latent_whole():
    f = latent()
    whole, _, _, _ = quantizer()(f, skip_continuous_prob=0.0)
    torch.testing.assert_close(whole, f, rtol=0, atol=1e-5)
    discrete, _, _, _ = quantizer()(f, skip_continuous_prob=1.0)
    assert (discrete - f).abs().max() > 0.01


def test_the_remainder_is_skipped_at_the_given_rate():
    model, f = quantizer(), latent(1)
    random.seed(0)
    skipped = sum(bool((model(f, 0.25)[0] - f).abs().max() > 1e-3) for _ in range(200))
    assert 30 <= skipped <= 70


def test_gradients_pass_straight_through_and_reach_codes_and_phi():
    model, f = quantizer(), latent().requires_grad_()
    out, usage, loss, _ = model(f, 1.0)
    (out.sum() + loss).backward()
    assert f.grad.abs().min() > 0
    assert model.embedding.weight.grad.abs().sum() > 0
    assert any(conv.weight.grad is not None for conv in model.quant_resi.qresi_ls)
    assert 0 < usage[0] <= 100


@pytest.mark.parametrize("sides", [(1, 2, 3), (1, 2, 2, 4), (2, 1, 4), (1, 2, 8), (4,), (0, 4), ()])
def test_sides_that_do_not_fit_are_refused(sides):
    with pytest.raises(ValueError, match=r"patch_nums is \(.*end at 4"):
        quantizer().f_to_idxBl_or_fhat(latent(), to_fhat=False, v_patch_nums=sides)


def test_other_sides_that_end_at_the_latents_are_fine():
    idx = quantizer().f_to_idxBl_or_fhat(latent(), to_fhat=False, v_patch_nums=(1, 3, 4))
    assert [part.shape[1] for part in idx] == [1, 9, 16]
