"""The autoencoder: released size, configuration, and arguments that do not fit."""

import json

import pytest
import torch
from transformers import AutoConfig, AutoModel

from hart.modules.models.autoencoder import (
    HARTAutoEncoder,
    HARTAutoEncoderConfig,
    HARTAutoEncoderWithDisc,
    HARTAutoEncoderWithDiscConfig,
)
from tests.golden import FIXTURES, TOKENIZER, weights

FULL = json.loads((FIXTURES / "keys_full.json").read_text())
TINY = json.loads((FIXTURES / "keys_tiny.json").read_text())["keys"]
FOURTEEN = (1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 27, 36, 48, 64)
SMALL = {"vocab_size": 16, "z_channels": 4, "ch": 32, "ch_mult": (1, 1), "v_patch_nums": (1, 2, 4)}


def without_disc(keys: dict[str, list[int]]) -> dict[str, list[int]]:
    """The discriminator is not part of our model."""
    return {key: shape for key, shape in keys.items() if not key.startswith("disc.")}


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def shapes(module: torch.nn.Module) -> dict[str, list[int]]:
    return {key: list(value.shape) for key, value in module.state_dict().items()}


def test_released_size_has_the_published_names_and_shapes():
    with torch.device("meta"):
        model = HARTAutoEncoderWithDisc(
            HARTAutoEncoderWithDiscConfig(quantizer_type="var_hybrid", v_patch_nums=FOURTEEN)
        )
    assert shapes(model) == without_disc(FULL["tokenizer"]["keys"])
    assert count(model) == FULL["tokenizer"]["params_vae"] == 108_948_355
    for part, size in FULL["tokenizer"]["by_part"].items():
        assert count(getattr(model.vae, part)) == size, part


def test_released_size_with_two_decoders():
    with torch.device("meta"):
        model = HARTAutoEncoder(HARTAutoEncoderConfig(quantizer_type="var_hybrid", double_decoder=True))
    assert count(model) == FULL["tokenizer_double_decoder"]["params_vae"] == 173_611_526
    assert count(model.decoder2) == count(model.decoder)
    assert {"decoder2.conv_in.weight", "post_quant_conv2.weight"} <= set(model.state_dict())


def test_the_small_checkpoint_has_the_published_names_and_shapes():
    config = HARTAutoEncoderWithDiscConfig.from_pretrained(TOKENIZER)
    with torch.device("meta"):
        assert shapes(HARTAutoEncoderWithDisc(config)) == without_disc(TINY["tokenizer"])


def test_transformers_finds_the_classes():
    config = AutoConfig.from_pretrained(TOKENIZER)
    assert isinstance(config, HARTAutoEncoderWithDiscConfig)
    model = AutoModel.from_pretrained(TOKENIZER, dtype=torch.float32)
    assert isinstance(model, HARTAutoEncoderWithDisc)
    expected = weights("tokenizer")
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())


def test_disc_keys_are_ignored(tmp_path, capfd):
    model = HARTAutoEncoderWithDisc(HARTAutoEncoderWithDiscConfig(**SMALL))
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict() | {"disc.main.0.weight": torch.ones(3)}, tmp_path / "pytorch_model.bin")
    loaded = HARTAutoEncoderWithDisc.from_pretrained(tmp_path)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in loaded.state_dict().items())
    assert "disc" not in capfd.readouterr().err


def test_saving_and_loading_changes_no_bit(tmp_path):
    model = HARTAutoEncoder(HARTAutoEncoderConfig(**SMALL))
    model.quantize.ema_vocab_hit_SV.fill_(0.3)
    model.save_pretrained(tmp_path)
    loaded = HARTAutoEncoder.from_pretrained(tmp_path)
    assert set(loaded.state_dict()) == set(model.state_dict())
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in loaded.state_dict().items())
    assert loaded.config.v_patch_nums == SMALL["v_patch_nums"]
    assert loaded.config.ch_mult == SMALL["ch_mult"]


def test_a_second_decoder_is_loaded_as_stored(tmp_path):
    """The published loader overwrote `decoder2` with a copy of `decoder`."""
    torch.manual_seed(0)
    model = HARTAutoEncoder(HARTAutoEncoderConfig(**SMALL, double_decoder=True))
    assert not torch.equal(model.decoder2.conv_in.weight, model.decoder.conv_in.weight)
    model.save_pretrained(tmp_path)
    loaded = HARTAutoEncoder.from_pretrained(tmp_path)
    for name in ("decoder2", "post_quant_conv2"):
        ours, stored = getattr(loaded, name).state_dict(), getattr(model, name).state_dict()
        assert all(torch.equal(ours[key], stored[key]) for key in stored)


def test_pictures_go_in_and_come_out_at_the_same_size():
    model = HARTAutoEncoder(HARTAutoEncoderConfig(**SMALL)).eval()
    img = torch.rand(1, 3, 8, 8) * 2 - 1
    with torch.no_grad():
        rebuilt = model.img_to_reconstructed_img(img)
        assert [list(part.shape) for part in rebuilt] == [[1, 3, 8, 8]] * 3
        assert rebuilt[-1].abs().max() <= 1
        torch.testing.assert_close(model.img_to_reconstructed_img(img, last_one=True), rebuilt[-1])


def test_bad_arguments_are_refused():
    model = HARTAutoEncoder(HARTAutoEncoderConfig(**SMALL)).eval()
    img = torch.zeros(1, 3, 8, 8)
    with pytest.raises(ValueError, match="quantizer_type is 'fsq'; allowed are 'var' and 'var_hybrid'"):
        HARTAutoEncoderConfig(quantizer_type="fsq")
    with pytest.raises(ValueError, match="same_shape is False"):
        model.idxBl_to_img(model.img_to_idxBl(img), same_shape=False)
    for encode in (model.img_to_idxBl, model.img_to_idxBl_and_frest, model.img_to_reconstructed_img):
        with pytest.raises(ValueError, match=r"patch_nums is \(1, 2\); .* end at 4"):
            encode(img, v_patch_nums=(1, 2))
