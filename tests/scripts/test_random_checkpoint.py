"""Checkpoints with random weights load and paint."""

import sys

from hart import HARTPipeline

TINY = "--depth 1 --width 32 --heads 2 --pyramid ten --codes 64 --diff_width 16 --diff_depth 1 --context_token 30"


def test_it_paints_with_as_many_text_tokens_as_asked(random_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["random_checkpoint.py", str(tmp_path / "made"), *TINY.split()])
    random_checkpoint.main()
    pipeline = HARTPipeline.from_pretrained(tmp_path / "made", device="cpu", dtype="float32", progress=False)
    assert pipeline.model.config.context_token == 30
    assert pipeline("a cat", seed=0, output_type="pt").images.shape == (1, 3, 256, 256)


def test_pyramids_rise_and_end_at_their_picture_s_side(random_checkpoint):
    for name, sides in random_checkpoint.PYRAMIDS.items():
        assert list(sides) == sorted(set(sides)) and sides[0] == 1
        assert name == "ten" or 16 * sides[-1] == int(name)
