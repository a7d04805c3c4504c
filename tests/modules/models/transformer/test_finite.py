"""Values that are not finite are refused by name of the part and dtype, wherever they come from."""

import copy

import pytest
import torch
from torch import nn

from hart.modules.models.transformer import generation
from hart.utils.finite import check_finite
from tests.modules.models.transformer.test_generation import MODEL, paint


def spoiled(part: str, value: float):
    """A copy of the model with one bad parameter in a part."""
    model = copy.deepcopy(MODEL)
    nn.init.constant_(list(model.get_submodule(part).parameters())[-1], value)
    return model


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize(
    ("part", "named"), [("blocks", "logits of stage 0"), ("diffloss.net.final_layer.linear", "residuals of the")]
)
def test_parts_of_the_transformer(part, named, value):
    with pytest.raises(ValueError, match=rf"{named}.* not finite in torch.float32; try dtype"):
        paint(spoiled(part, value))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_the_decoder(value):
    model = copy.deepcopy(MODEL)
    model.attach_tokenizer(copy.deepcopy(MODEL.vae))
    nn.init.constant_(model.vae.decoder.conv_out.bias, value)
    with pytest.raises(ValueError, match=r"pictures of the decoder are not finite in torch.float32"):
        paint(model)


def test_the_latent_map(monkeypatch):
    monkeypatch.setattr(generation.Generation, "paint_last_stage", lambda run, tokens: run.f_hat.fill_(torch.nan))
    with pytest.raises(ValueError, match=r"the latent map is not finite in torch.float32"):
        paint(MODEL, decode=False)
    with pytest.raises(ValueError, match=r"the latent map is not finite"):
        MODEL.latent_to_img(torch.full((1, 8, 4, 4), torch.nan))


def test_finite_values_whose_sum_is_not_are_kept():
    check_finite("sums are", torch.full((4,), 3e38), torch.float32)


def test_latent_maps_are_float32_whatever_the_default():
    torch.set_default_dtype(torch.float64)
    try:
        assert paint(MODEL, decode=False).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)
