"""`plan_cache`: what it searches, what it verifies, what it gives."""

import pytest
import torch

from hart import embedded_model_path
from hart.modules.cache_config import HARTCacheConfig
from hart.modules.cache_planner import CacheProposal, Trial, _front
from hart.modules.enhanced_hart import EnhancedHARTForT2I
from tests.modules.test_enhanced_hart import config, paint

SMALL = {"num_search": 1, "num_verify": 2, "progress": False}


def content(images, prompts):
    """A judge whom every picture pleases."""
    return [1.0] * len(images)


class Strict:
    """A judge whom only pictures that it has seen among the full run's please."""

    def __init__(self):
        self.seen = []

    def __call__(self, images, prompts):
        if len(self.seen) < SMALL["num_verify"]:
            self.seen.append(images)
            return [1.0]
        return [float(any(torch.equal(images, known) for known in self.seen))]


def trial(seconds, damage):
    return Trial(run_tag="t", settings={}, seconds=seconds, damage=damage)


def test_with_a_content_judge_the_first_candidate_that_is_faster_wins(tiny):
    found = tiny.plan_cache(judge=content, **SMALL)
    assert found.judged_by == "caller" and found.quality_drop == 0
    assert found.verified[-1].kept == (found.speed_up > 1)
    assert [v.kept for v in found.verified[:-1]] == [False] * (len(found.verified) - 1)
    if found.verified[-1].kept:
        assert found.config.run_tag() == found.verified[-1].run_tag
    found.config.validate([1, 4, 16, 64], depth=2)
    front = _front(found.tried)
    assert [v.run_tag for v in found.verified] == [t.run_tag for t in front[: len(found.verified)]]


def test_with_a_strict_judge_and_no_budget_nothing_that_changes_pictures_is_kept(tiny):
    found = tiny.plan_cache(0.0, judge=Strict(), **SMALL)
    if found.speed_up > 1:  # a setting may have left these two pictures as they were
        assert found.verified[-1].worse == 0
    else:
        assert found.config == HARTCacheConfig.from_preset("no-cache")
        assert not any(v.kept for v in found.verified)


def test_the_search_looks_at_every_kind_of_setting(tiny):
    found = tiny.plan_cache(1.0, judge=content, **SMALL)
    settings = [t.settings for t in found.tried]
    assert any(s["unselected"] == "reuse" and s["attn_layers"] for s in settings)
    assert any(s["drop_stages"] for s in settings)
    assert any(s["refresh_ratio"] and s["unselected"] == "nothing" for s in settings)
    assert any(s["unguided_from"] for s in settings)
    assert all(t.damage > 0 for t in found.tried if t.settings["drop_stages"])


def test_no_prompts_and_no_judge_compare_latent_maps(tiny):
    found = tiny.plan_cache(1.0, **SMALL)
    assert found.judged_by == "latent"
    assert 0 <= found.quality_drop <= 1


def test_captions_of_the_embedded_model_are_judged_by_program(monkeypatch):
    monkeypatch.setattr("hart.modules.cache_planner.cheaper", lambda treatment: [])  # it takes long enough
    model = EnhancedHARTForT2I.from_pretrained(embedded_model_path())
    captions = ["a 3d fox on a blue background", "a flat star on a green background"]
    found = model.plan_cache(1.0, captions, num_search=1, num_verify=1, progress=False)
    assert found.judged_by == "program"
    model.set_cache_config(found.config)
    assert found.verified[0].pictures == 1


def test_it_leaves_everything_as_it_was(enhanced):
    enhanced.set_cache_config(config())
    paint(enhanced)
    before = enhanced.get_cache_statistics()
    enhanced.plan_cache(1.0, num_search=1, num_verify=1, judge=content, progress=False)
    assert enhanced.get_cache_statistics() == before
    assert enhanced.is_cache_enabled and not enhanced.calibration


def test_files(tiny, tmp_path):
    found = tiny.plan_cache(1.0, **SMALL)
    found.to_json(tmp_path / "plan.json")
    assert CacheProposal.from_json(tmp_path / "plan.json") == found
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(ValueError, match=r"plan.json' is not a cache proposal"):
        CacheProposal.from_json(tmp_path / "plan.json")


def test_the_front_holds_what_nothing_beats():
    trials = [trial(3, 0.0), trial(1, 0.5), trial(2, 0.6), trial(1, 0.4), trial(2, 0.1)]
    assert [(t.seconds, t.damage) for t in _front(trials)] == [(1, 0.4), (2, 0.1), (3, 0.0)]


@pytest.mark.parametrize(
    "given, sentence",
    [
        ({"max_quality_drop": 2}, r"max_quality_drop is 2; allowed is a number from 0 to 1"),
        ({"max_quality_drop": "1%"}, r"max_quality_drop is '1%'"),
        ({"num_search": 0}, r"num_search is 0; allowed is a whole number from 1"),
        ({"num_verify": True}, r"num_verify is True"),
        ({"prompts": ["a cat"]}, r"prompts is \['a cat'\]; allowed is a list of at least two texts"),
        ({"prompts": "cats"}, r"prompts is 'cats'"),
    ],
)
def test_bad_input(tiny, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        tiny.plan_cache(**given)
