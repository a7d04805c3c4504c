"""Evaluation of a pipeline, with painters whose right answer is known."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from hart.evaluation import ATTRIBUTES, SIDES, compose, draw_scenes, evaluate_model, is_held_out, parse_caption
from hart.evaluation.__main__ import build_parser, main


class TruePainter:
    """A pipeline that paints what its prompts say, and remembers how it was called."""

    def __init__(self, sprites):
        self.sprites, self.calls = sprites, []

    def __call__(self, prompts, *, seed, output_type, **settings):
        self.calls.append((prompts, seed, output_type, settings))
        pictures = [compose(parse_caption(prompt), self.sprites) for prompt in prompts]
        return SimpleNamespace(images=np.stack(pictures).astype(np.float32) / 255)


@pytest.mark.parametrize("split", ["held-out", "training"])
def test_a_perfect_painter_scores_one(sprites, split):
    painter = TruePainter(sprites)
    report = evaluate_model(painter, num_pictures=25, split=split, seed=3, batch_size=8, progress=False)
    assert {row["share"] for row in report["table"].values()} == {1.0}
    assert [report["by_size"][size]["overall"]["total"] for size in SIDES] == [13, 12]
    asked = [parse_caption(prompt) for call in painter.calls for prompt in call[0]]
    assert {is_held_out(scene) for scene in asked} == {split == "held-out"}
    assert json.loads(json.dumps(report)) == report


def test_a_painter_of_one_picture_fails(sprites):
    fox = compose(parse_caption("a 3d fox on a green background"), sprites) / np.float32(255)
    report = evaluate_model(
        lambda prompts, **_: SimpleNamespace(images=[fox] * len(prompts)), num_pictures=20, progress=False
    )
    assert report["table"]["blind_overall"]["correct"] <= 1


def test_prompts_and_seeds_do_not_depend_on_the_batch_size(sprites):
    called = []
    for batch_size in (3, 7):
        painter = TruePainter(sprites)
        evaluate_model(painter, num_pictures=10, seed=100, batch_size=batch_size, progress=False)
        called.append([pair for call in painter.calls for pair in zip(call[0], call[1], strict=True)])
    assert called[0] == called[1]
    assert [seed for _, seed in called[0]] == list(range(100, 110))


def test_settings_reach_the_pipeline(sprites):
    painter = TruePainter(sprites)
    evaluate_model(painter, num_pictures=2, guidance_scale=2.5, progress=False, top_k=7)
    evaluate_model(painter, num_pictures=2, progress=False)
    fixed = {"batch_size": 2, "progress": False}
    assert [call[2:] for call in painter.calls] == [("np", fixed | {"guidance_scale": 2.5, "top_k": 7}), ("np", fixed)]


def test_the_pipeline_paints_a_batch_at_once(sprites):
    """The last batch may be smaller, and one above the pipeline's own size is not cut."""
    painter = TruePainter(sprites)
    evaluate_model(painter, num_pictures=30, batch_size=16, progress=False)
    assert [call[3]["batch_size"] for call in painter.calls] == [16, 14]


def test_drawn_scenes_differ_and_are_fixed_by_the_seed():
    scenes = draw_scenes(154, "held-out", seed=1)
    assert len(set(scenes)) == 154
    assert scenes == draw_scenes(154, "held-out", seed=1) != draw_scenes(154, "held-out", seed=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "test"}, "split is 'test'; allowed are held-out, training"),
        ({"num_pictures": 0}, "num_pictures is 0; allowed are 1 to 154 for the split 'held-out'"),
        ({"batch_size": 0}, "batch_size is 0; allowed are 1 and more"),
    ],
)
def test_wrong_arguments_say_what_is_wrong(sprites, arguments, message):
    with pytest.raises(ValueError, match=message):
        evaluate_model(TruePainter(sprites), progress=False, **arguments)


def test_the_command_line_prints_the_blind_columns_too(sprites, monkeypatch, capsys):
    monkeypatch.setattr("hart.pipeline.HARTPipeline.from_pretrained", lambda: TruePainter(sprites))
    monkeypatch.setattr("sys.argv", ["hart.evaluation", "--num-pictures", "4", "--guidance-scale", "4.5"])
    main()
    reports = json.loads(capsys.readouterr().out)
    assert set(reports) == {"held-out", "training"}
    for report in reports.values():
        assert report["guidance_scale"] == 4.5
        for table in (report["table"], *report["by_size"].values()):
            assert {"blind_style", "blind_identity", "blind_overall"} <= set(table) == set(ATTRIBUTES)


def test_command_line_has_the_defaults_of_the_function():
    arguments = build_parser().parse_args([])
    assert (arguments.num_pictures, arguments.seed, arguments.batch_size, arguments.guidance_scale) == (
        500,
        0,
        16,
        None,
    )
