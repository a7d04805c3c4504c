"""What the page shows, without a browser."""

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("pydantic_settings", reason="the demo's settings: pip install hart-stage-cache[demo]")

from hart.demo import views
from hart.demo.studio import Painting, Pair, Request
from hart.token_maps import TokenMap

HALF = TokenMap(1, torch.tensor([[1.0, 0.0], [1.0, 0.0]]), reuses=False)
WHOLE = [TokenMap(0, torch.ones(1, 1), reuses=True), TokenMap(1, torch.ones(2, 2), reuses=True)]


def picture(value: float) -> torch.Tensor:
    return torch.full((1, 3, 32, 32), value)


def pair(plain: float = 0.5, cached: float | None = 0.6, last: TokenMap = HALF) -> Pair:
    """A pair of plain colours over two stages; without a value for the second it is still being painted."""
    preview, maps = Image.new("RGB", (32, 32)), (WHOLE[0], last)
    first = Painting("no-cache", [preview] * 2, picture(plain), 2.0, maps)
    second = Painting("<mine>", [preview])
    if cached is not None:
        second = Painting("<mine>", [preview] * 2, picture(cached), 1.0, maps, 0.25, 0.75)
    return Pair(Request("a <b> cat", 7, 4.5, "<mine>"), 2, first, second)


def test_names_and_prompts_are_text_not_markup():
    both = pair()
    for html in (views.progress(both), views.caption(both.cached), views.plan(both), views.failed("<b>")):
        assert "<b> cat" not in html and "<mine>" not in html and "<b></p>" not in html
    assert "a &lt;b&gt; cat" in views.progress(both) and "&lt;mine&gt;" in views.plan(both)


def test_progress_says_which_picture_and_stage():
    assert "Picture 2 of 2, &lt;mine&gt;: 1 of 2 stages" in views.progress(pair(cached=None))
    assert 'value="3" max="4"' in views.progress(pair(cached=None))
    assert "Done" in views.progress(pair())
    painting = pair(cached=None)
    painting.plain.image = None
    assert "Picture 1 of 2, without cache: 2 of 2 stages" in views.progress(painting)


def test_figures_wait_for_both_pictures():
    assert views.figures(pair(cached=None)) == ""
    shown = views.figures(pair())
    for figure in ("2.00x", "20.0 dB", "25%", "75%"):
        assert figure in shown
    assert "equal" in views.figures(pair(cached=0.5)) and "truth" not in shown
    judged = pair()
    judged.plain.score, judged.cached.score = 21.04, 19.5
    assert "21.0 → 19.5 dB" in views.figures(judged)


def test_the_difference_is_four_times_as_strong():
    assert views.difference(pair(cached=None)) is None
    assert np.asarray(views.difference(pair(0.5, 0.6))).min() == int(255 * 0.4)
    assert np.asarray(views.difference(pair(0.5, 0.9))).min() == 255
    assert np.asarray(views.difference(pair(0.5, 0.5))).max() == 0


@pytest.mark.parametrize("reuses", [True, False])
def test_tokens_that_were_not_computed_are_tinted(reuses):
    red = Image.new("RGB", (64, 64), (200, 0, 0))
    shown = np.asarray(views.overlay(red, TokenMap(1, HALF.computed_pp, reuses)))
    assert shown.shape == (views.PLAN_SIDE, views.PLAN_SIDE, 3)
    assert shown[10, 10].tolist() == [200, 0, 0]
    tint = views.REUSED if reuses else views.LEFT_OUT
    grey = 200 / 3 * (1 - views.TINT)
    assert shown[10, -10].tolist() == [int(grey + value * views.TINT) for value in tint]


def test_a_large_picture_keeps_its_size_in_the_plan():
    assert views.overlay(Image.new("RGB", (300, 300)), HALF).size == (300, 300)


def test_the_plan_draws_the_stages_that_spare_work():
    shown = views.plan(pair())
    assert "computes 1 of 2 stages whole" in shown and shown.count("<figure>") == 1
    assert "Stage 2 of 2, 2x2: 50% computed, 50% left out" in shown
    assert shown.count("<tr>") == 3 and "50%, rest left out" in shown and "data:image/png" in shown
    nothing_spared = views.plan(pair(last=WHOLE[1]))
    assert "computes 2 of 2 stages whole" in nothing_spared and "<figure>" not in nothing_spared


def test_places_without_pictures_say_what_comes():
    assert "once it has painted" in views.plan(None) and "once it has painted" in views.plan(pair(cached=None))
    assert "once both are painted" in views.stage_caption(None, 1)
    assert "After stage 2 of 2: 2x2 tokens" in views.stage_caption(pair(), 2)
