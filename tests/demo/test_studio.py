"""Both pictures while they grow, and work that shows things step by step."""

import threading

import pytest
import torch

pytest.importorskip("pydantic_settings", reason="the demo's settings: pip install hart-stage-cache[demo]")

from hart import HARTPipeline
from hart.demo.settings import DemoSettings
from hart.demo.studio import Request, Studio, step_by_step
from hart.modules.cache_config import HARTCacheConfig

FULL_SKIP = HARTCacheConfig(skip_stages=[169, 256], cache_stages=[100, 169], threshold=0.0)
NOTHING = HARTCacheConfig()


@pytest.fixture(scope="module")
def pipeline(checkpoint_root) -> HARTPipeline:
    return HARTPipeline.from_pretrained(checkpoint_root, dtype="float32", device="cpu", progress=False)


@pytest.fixture
def studio(pipeline) -> Studio:
    return Studio(pipeline, {"full-skip": FULL_SKIP, "nothing": NOTHING})


def painting_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "painting"]


def test_both_pictures_grow_by_a_stage_at_a_time(studio):
    seen = [(len(pair.plain.previews), len(pair.cached.previews)) for pair in studio.paint(ask())]
    assert seen == [(n, 0) for n in range(1, 11)] + [(10, 0)] + [(10, n) for n in range(1, 11)] + [(10, 10)]
    assert not painting_threads()


def ask(prompt: str = "a cat", setting: str = "full-skip", seed: int = 3) -> Request:
    return Request(prompt, seed, 4.5, setting)


def whole(studio: Studio, request: Request):
    *_, pair = studio.paint(request)
    assert pair.finished and pair.done == 20
    return pair


def test_pictures_are_those_of_the_pipeline(studio, pipeline):
    pair = whole(studio, ask())
    assert torch.equal(pair.plain.image, pipeline("a cat", seed=3, output_type="pt").images)
    assert not torch.equal(pair.cached.image, pair.plain.image) and 0 < pair.psnr < 100
    assert pair.plain.seconds > 0 and pair.cached.seconds > 0 and pair.speed_up > 0
    assert [token_map.computed for token_map in pair.cached.token_maps] == [1.0] * 8 + [0.0] * 2
    assert pair.cached.hit_rate == 1.0 and 0 < pair.cached.work_saved < 1
    assert pair.plain.hit_rate is None and not pipeline.model.use_cache


def test_a_setting_that_spares_nothing_paints_the_same_picture(studio):
    pair = whole(studio, ask(setting="nothing"))
    assert torch.equal(pair.cached.image, pair.plain.image) and pair.psnr == float("inf")
    assert pair.cached.hit_rate is None and pair.cached.work_saved == 0


def test_the_preview_stands_for_the_picture_until_it_is_whole(studio):
    for pair in studio.paint(ask()):
        shown = pair.plain.picture
        assert shown.size == (128, 128)
        if pair.plain.image is None:
            assert shown is pair.plain.previews[-1] and pair.cached.picture is None and pair.plain.seconds is None


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (ask(prompt="  "), "The prompt must be a text, got nothing"),
        (ask(setting="none-such"), "The cache setting must be one of full-skip, nothing, got 'none-such'"),
        (ask(prompt="cat " * 400), "tokens"),
        (ask(seed=-1), "seed"),
    ],
)
def test_what_cannot_be_painted_is_refused(studio, request_, sentence):
    with pytest.raises(ValueError, match=sentence):
        next(studio.paint(request_))
    assert not painting_threads()


def test_closing_ends_the_painting(studio):
    paint = studio.paint(ask())
    next(paint)
    assert len(painting_threads()) == 1
    paint.close()
    assert not painting_threads()


def test_work_waits_while_nobody_asks():
    done = []

    def work(show):
        for number in range(3):
            done.append(number)
            show(number)
        return "end"

    steps = step_by_step(work)
    assert next(steps) == 0 and done == [0]
    assert list(steps) == [1, 2, "end"]


def test_what_the_work_raises_arrives():
    def work(show):
        show(1)
        raise OSError("full disk")

    steps = step_by_step(work)
    assert next(steps) == 1
    with pytest.raises(OSError, match="full disk"):
        next(steps)
    assert not painting_threads()


# -- settings ----------------------------------------------------------------------------------------------------------


def test_choices_begin_with_the_named_setting(tmp_path):
    sides = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
    assert next(iter(DemoSettings().choices(sides))) == "original-cache"
    choices = DemoSettings(cache="ultra-fast").choices(sides)
    assert next(iter(choices)) == "ultra-fast" and "no-cache" not in choices and len(choices) == 7
    FULL_SKIP.to_json(tmp_path / "mine.json")
    choices = DemoSettings(cache=str(tmp_path / "mine.json")).choices(sides)
    assert next(iter(choices)) == "mine" and choices["mine"] == FULL_SKIP and len(choices) == 8


def test_an_unknown_setting_is_refused():
    with pytest.raises(ValueError, match="ultra-fast"):
        DemoSettings(cache="ultra-fst").choices((1, 2, 4))
