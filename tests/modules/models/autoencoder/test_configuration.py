"""Tokenizer configurations as other tools write them."""

import json
from pathlib import Path

import pytest
import torch

from hart.modules.models.autoencoder import (
    HARTAutoEncoderConfig,
    HARTAutoEncoderWithDisc,
    HARTAutoEncoderWithDiscConfig,
)

SMALL = {"vocab_size": 16, "z_channels": 4, "ch": 32, "ch_mult": (1, 1), "v_patch_nums": (1, 2, 4)}
HITS = "vae.quantize.ema_vocab_hit_SV"


def write_config(folder: Path, **fields) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "hart_autoencoder_with_disc"} | fields))


def test_fields_that_the_file_leaves_out_have_their_defaults(tmp_path):
    """Recent transformers save only what differs from the defaults."""
    write_config(tmp_path, vocab_size=128, ch_mult=[1, 2])
    config = HARTAutoEncoderWithDiscConfig.from_pretrained(tmp_path)
    expected = HARTAutoEncoderConfig(vocab_size=128, ch_mult=(1, 2)).to_dict() | {"model_type": config.model_type}
    assert {name: config.to_dict()[name] for name in expected} == expected


def test_lists_that_nobody_reads_may_be_null(tmp_path):
    write_config(tmp_path, **SMALL, levels=None)
    config = HARTAutoEncoderWithDiscConfig.from_pretrained(tmp_path)
    assert config.levels is None
    HARTAutoEncoderWithDisc(config)


def save_with(tmp_path: Path, key: str, value: torch.Tensor) -> HARTAutoEncoderWithDisc:
    model = HARTAutoEncoderWithDisc(HARTAutoEncoderWithDiscConfig(**SMALL))
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict() | {key: value}, tmp_path / "pytorch_model.bin")
    return model


def test_statistics_of_another_number_of_stages_are_left_out(tmp_path, capfd):
    model = save_with(tmp_path, HITS, torch.ones(14, 16))
    loaded = HARTAutoEncoderWithDisc.from_pretrained(tmp_path)
    assert "ema_vocab_hit" not in capfd.readouterr().err
    assert torch.equal(loaded.vae.quantize.ema_vocab_hit_SV, torch.zeros(3, 16))
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in loaded.state_dict().items())


def test_weights_of_another_shape_are_still_refused(tmp_path):
    save_with(tmp_path, "vae.quantize.embedding.weight", torch.ones(15, 4))
    with pytest.raises(ValueError, match=r"quantize.embedding.weight. of shape \[15, 4\]"):
        HARTAutoEncoderWithDisc.from_pretrained(tmp_path)


@pytest.mark.parametrize("sides", [(), (0, 1, 2), (1, 1), (1, 4, 2), (1, 2.5), (1, "2"), (-1, 2), None, 4, (True, 2)])
def test_sides_that_do_not_rise_from_one(sides):
    with pytest.raises(ValueError, match=r"^v_patch_nums is .*; allowed are whole numbers from 1 that rise\.$"):
        HARTAutoEncoderConfig(v_patch_nums=sides)


@pytest.mark.parametrize("name", ["v_patch_nums", "quantizer_type"])
def test_a_file_that_no_tokenizer_can_be_built_from_is_named(tmp_path, name):
    write_config(tmp_path, **{name: [4, 2]})
    with pytest.raises(ValueError, match=rf"^'{tmp_path / 'config.json'}': {name} is .*; allowed are"):
        HARTAutoEncoderWithDiscConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"model_type": "vqgan"}', "has model_type 'vqgan'; allowed is 'hart_autoencoder_with_disc'"),
        ("{", "is not a JSON object; download it again"),
        (None, "does not exist; give a tokenizer's folder"),
    ],
)
def test_a_foreign_broken_or_missing_file_is_named(tmp_path, content, sentence):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=rf"^'{tmp_path / 'config.json'}' {sentence}\.$"):
        HARTAutoEncoderWithDisc.from_pretrained(tmp_path)
