"""The tokenizer's training at tiny size: a few steps, a stop, and on from there, into a folder that loads."""

import json

import pytest
import torch

from hart.modules.models.autoencoder import HARTAutoEncoderWithDisc
from tests.training.toys import CPU, PEAK_SIZE
from training import stream, train_tokenizer
from training.data import training_scenes
from training.export_tokenizer import export_tokenizer
from training.train_tokenizer import TokenizerTraining

SETTINGS = train_tokenizer.Settings(quantise_from=0.5, batch_size=2, vocab_size=64, z_channels=4, ch=4)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Few pictures and a short start of the codebook."""
    monkeypatch.setattr(stream, "training_scenes", lambda: training_scenes()[:6])
    monkeypatch.setattr(TokenizerTraining.start_codebook, "__defaults__", (2, 2, 2))
    held_out_batch, batch = stream.TrainingScenes.held_out_batch, stream.TrainingScenes.batch
    monkeypatch.setattr(stream.TrainingScenes, "held_out_batch", lambda self, size: held_out_batch(self, 1))
    monkeypatch.setattr(stream.TrainingScenes, "batch", lambda self, size: batch(self, min(size, 2)))


def test_a_tokenizer_stops_goes_on_and_is_exported(tmp_path):
    first = TokenizerTraining(SETTINGS, tmp_path / "run", CPU)
    before = {name: value.clone() for name, value in first.model.state_dict().items()}
    assert first.run(steps=2, log_every=1, peak_size=PEAK_SIZE)
    after = first.model.state_dict()
    assert any(not torch.equal(value, before[name]) for name, value in after.items())
    assert all(torch.isfinite(value).all() for value in after.values())

    second = TokenizerTraining(SETTINGS, tmp_path / "run", CPU)
    assert second.step == 2 and second.codebook is not None
    for name, value in second.model.state_dict().items():
        torch.testing.assert_close(value, after[name], rtol=1e-3, atol=1e-4)
    assert second.run(steps=3, log_every=1, peak_size=PEAK_SIZE)
    lines = [json.loads(line) for line in (tmp_path / "run" / "losses.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "psnr_after_stage" in line] == [2, 3]
    assert "code_mse" not in lines[0] and "code_mse" in lines[1] and lines[0]["samples_per_second"] > 0

    done = export_tokenizer(tmp_path / "run", tmp_path / "tokenizer", CPU)
    assert done.scale == pytest.approx(0.6 / done.quantile)
    loaded = HARTAutoEncoderWithDisc.from_pretrained(tmp_path / "tokenizer", dtype=torch.float32).vae
    weight = second.model.quant_conv.weight.half().float() * done.scale
    torch.testing.assert_close(loaded.quant_conv.weight, weight, rtol=2e-3, atol=1e-4)


def test_a_folder_without_an_export_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"run must be a folder with an export of `training\.train_tokenizer`, got"):
        export_tokenizer(tmp_path / "nowhere", tmp_path / "tokenizer", CPU)
