"""Both trainings at tiny sizes: a few steps, a stop, and on from there."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hart.evaluation import load_sprites
from training import latents, stream, train_tokenizer, train_transformer
from training.train_tokenizer import TokenizerTraining
from training.train_transformer import TransformerTraining

TOKENIZER = train_tokenizer.Settings(steps=2, quantise_from=1, batch_size=2, vocab_size=64, z_channels=4, ch=4)
TRANSFORMER = train_transformer.Settings(
    steps=2, full_every=2, coarse_stages=3, coarse_batch=2, full_batch=2, kept_tokens=4, depth=1, embed_dim=32,
    num_heads=2, diff_width=16, diff_depth=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def sprites():
    return load_sprites()


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path, sprites):
    """Runs in a temporary folder, artwork of the package, latents of noise, few held-out pictures."""
    scenes = latents.chosen_scenes(places=1)[:6]
    for module in (train_tokenizer, train_transformer):
        monkeypatch.setattr(module, "RUNS", tmp_path)
    for module in (stream, latents):
        monkeypatch.setattr(module, "load_sprites", lambda: sprites)
    monkeypatch.setattr(train_transformer, "load_latents", lambda vae: (torch.randn(6, 16, 16, 16), scenes))
    monkeypatch.setattr(TransformerTraining.prepare_held_out, "__defaults__", (1,))
    monkeypatch.setattr(TokenizerTraining.start_codebook, "__defaults__", (2, 2, 2))
    held_out_batch = stream.TrainingScenes.held_out_batch
    monkeypatch.setattr(stream.TrainingScenes, "held_out_batch", lambda self, size: held_out_batch(self, 1))
    # Tensors are so small that threads would mostly wait for each other.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("training", "settings", "module", "score"),
    [
        (TokenizerTraining, TOKENIZER, "model", "psnr_after_stage"),
        (TransformerTraining, TRANSFORMER, "all", "held_out"),
    ],
)
def test_a_run_stops_and_goes_on(tmp_path, training, settings, module, score):
    first = training(settings, "run")
    before = {name: value.clone() for name, value in getattr(first, module).state_dict().items()}
    first.run()
    after = getattr(first, module).state_dict()
    assert first.step == 2 and any(not torch.equal(value, before[name]) for name, value in after.items())
    assert all(torch.isfinite(value).all() for value in after.values())

    second = training(replace(settings, steps=3), "run")
    second.resume()
    assert second.step == 2
    resumed = getattr(second, module).state_dict()
    assert all(torch.equal(value, resumed[name]) for name, value in after.items())
    second.run()
    assert second.step == 3
    assert [record["step"] for record in records(tmp_path / "run") if score in record] == [2, 3]
