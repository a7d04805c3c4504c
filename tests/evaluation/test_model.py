"""Evaluation of a pipeline, with painters whose right answer is known."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from hart.evaluation import ATTRIBUTES, SIDES, compose, draw_scenes, evaluate_model, is_held_out, parse_caption
from hart.evaluation.__main__ import build_parser, main


class TruePainter:
    """A pipeline that paints what its prompts say, darker for every stage left out, and remembers its calls."""

    def __init__(self, sprites):
        self.sprites, self.calls, self.cache = sprites, [], None
        self.model = SimpleNamespace(config=SimpleNamespace(patch_nums=(1, 2, 3, 4, 5)), set_cache_config=self.use)

    def use(self, cache):
        self.cache = cache

    def __call__(self, prompts, *, seed, output_type, **settings):
        self.calls.append((prompts, seed, output_type, settings))
        pictures = [compose(parse_caption(prompt), self.sprites) for prompt in prompts]
        light = 1 - 0.02 * len(getattr(self.cache, "drop_stages", ()))
        return SimpleNamespace(images=np.stack(pictures).astype(np.float32) / 255 * np.float32(light))


@pytest.mark.parametrize("split", ["held-out", "training"])
def test_a_perfect_painter_scores_one(sprites, split):
    painter = TruePainter(sprites)
    report = evaluate_model(painter, num_pictures=25, split=split, seed=3, batch_size=8, progress=False)
    assert {row["share"] for row in report["table"].values()} == {1.0}
    assert [report["by_size"][size]["overall"]["total"] for size in SIDES] == [13, 12]
    for table in (report["fidelity"], *report["fidelity_by_size"].values()):
        assert {name: row["value"] for name, row in table.items()} == {
            "psnr": 100, "ssim": 1, "sharpness": 1, "picture_psnr": 100, "picture_ssim": 1
        }  # fmt: skip
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


def test_more_pictures_than_scenes_are_painted_with_other_seeds(sprites):
    painter = TruePainter(sprites)
    report = evaluate_model(painter, num_pictures=160, progress=False, picture_seed=900)
    prompts = [prompt for call in painter.calls for prompt in call[0]]
    assert prompts[154:] == prompts[:6] and report["num_captions"] == len(set(prompts)) == 154
    assert [seed for call in painter.calls for seed in call[1]] == list(range(900, 1060))


@pytest.fixture
def run(sprites, monkeypatch):
    """Runs the command line with a true painter, which is returned."""
    painter = TruePainter(sprites)
    monkeypatch.setattr("hart.pipeline.HARTPipeline.from_pretrained", lambda: painter)

    def main_with(*arguments):
        monkeypatch.setattr("sys.argv", ["hart.evaluation", *map(str, arguments)])
        main()
        return painter

    return main_with


def test_the_command_line_prints_the_blind_columns_too(run, capsys):
    run("--num-pictures", 4, "--guidance-scale", 4.5, "--late-pictures", 0)
    reports = json.loads(capsys.readouterr().out)
    assert set(reports) == {"held-out", "training"}
    for report in reports.values():
        assert report["guidance_scale"] == 4.5 and "costs" not in report
        for table in (report["table"], *report["by_size"].values()):
            assert {"blind_style", "blind_identity", "blind_overall"} <= set(table) == set(ATTRIBUTES)


def test_the_command_line_says_what_late_stages_pay(run, tmp_path):
    files = tmp_path / "evaluation.json", tmp_path / "evaluation.md"
    common = ("--num-pictures", 4, "--late-pictures", 6, "--output", files[0], "--markdown", files[1])
    painter = run(*common, "--leave-out", 1)
    report = json.loads(files[0].read_text())["held-out"]
    costs, asked = report["costs"], "the last 1 left out, as asked"
    assert list(costs) == ["no cache", asked, "last 1 left out", "last 2 left out", "last 3 left out"]
    lost = [costs[f"last {count} left out"]["cost"]["psnr"] for count in (1, 2, 3)]
    assert lost[0]["low"] > 0 and lost[0]["value"] < lost[1]["value"] < lost[2]["value"]
    assert costs[asked] == costs["last 1 left out"] and "cost" not in costs["no cache"]
    assert report["fidelity"]["psnr"]["value"] < 50 and painter.cache.drop_stages == [25]
    page = files[1].read_text()
    assert page.count("| last 3 left out |") == 2 and "± " in page
    assert "Painted with the default guidance, without the last 1 stages, seeds from 0; captions drawn" in page
    painter = run(*common, "--cache", "original-cache")
    assert painter.cache == "original-cache" and "guidance, cache original-cache, seeds" in files[1].read_text()


def test_a_single_picture_has_no_interval(run, tmp_path):
    page = tmp_path / "evaluation.md"
    run("--num-pictures", 1, "--late-pictures", 0, "--output", tmp_path / "e.json", "--markdown", page)
    assert "| 100.00 |" in page.read_text() and "±" not in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--leave-out", 5), "leave-out must be 1 to 4 stages, got 5"),
        (("--num-pictures", 0), "num_pictures is 0; allowed are 1"),
        (("--late-pictures", -1), "num_pictures is -1; allowed are 1"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_painted(run, arguments, message):
    with pytest.raises(ValueError, match=message):
        run(*arguments)


def test_command_line_has_the_defaults_of_the_function():
    arguments = build_parser().parse_args([])
    assert (arguments.num_pictures, arguments.seed, arguments.batch_size, arguments.guidance_scale) == (
        300,
        0,
        16,
        None,
    )
