"""Growing from weights that are there."""

from dataclasses import replace

import pytest
import torch

from hart.modules.networks.stage import Stage
from tests.training.toys import SETTINGS, transformer_training
from training.budget import Budget
from training.starting_weights import remapped, shipped_weights, start_from
from training.text import vocabulary


def test_words_take_their_rows_along():
    old = torch.arange(6.0).view(3, 2)
    new = -torch.ones(3, 2)
    rows = remapped(old, ["<pad>", "fox", "owl"], new, ["<pad>", "owl", "tent"])
    assert rows.tolist() == [[0, 1], [4, 5], [-1, -1]]


def test_shipped_weights_come_with_their_words():
    tensors, words = shipped_weights()
    assert len(words) == len(tensors["text.embed_tokens.weight"]) and words[:2] == ["<pad>", "<unk>"]
    assert set(vocabulary()) <= set(words)


def test_another_width_starts_from_scratch_in_one_sentence(tmp_path):
    training = transformer_training(tmp_path / "run")
    before = {name: value.clone() for name, value in training.all.state_dict().items()}
    told = start_from("shipped", training.all, vocabulary())
    assert told == "Trained from scratch: the weights of 'shipped' have width 256, this model has 32."
    assert all(torch.equal(value, before[name]) for name, value in training.all.state_dict().items())


def test_a_deeper_model_grows_from_another_run_and_paints_the_same_at_first(tmp_path):
    small = transformer_training(tmp_path / "small")
    assert small.save(Budget(steps=1), {})
    deep = transformer_training(tmp_path / "deep", start=str(tmp_path / "small"), settings=replace(SETTINGS, depth=2))
    x = torch.randn(1, 5, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            deep.model.run_blocks(x, Stage(0)), small.model.run_blocks(x, Stage(0)), rtol=5e-3, atol=5e-3
        )
    assert deep.model.blocks[1].attn.qkv_proj.weight.abs().sum() > 0


def test_a_start_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="start must be 'shipped', 'scratch' or a run's folder, got"):
        transformer_training(tmp_path / "run", start=str(tmp_path / "nowhere"))
