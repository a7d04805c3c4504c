"""`plan_cache`: what it searches, what it verifies, what it gives."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from hart import embedded_model_path
from hart.evaluation import draw_scenes, num_scenes, parse_caption
from hart.modules.cache_config import HARTCacheConfig
from hart.modules.enhanced_hart import EnhancedHARTForT2I
from hart.tuning.painter import Painted
from hart.tuning.planner import CacheProposal, Trial
from hart.tuning.planner.journal import PlanJournal
from hart.tuning.planner.planner import LATENT_MAPS, PlanSettings, confirm
from hart.tuning.planner.prompts import split_prompts, who_judges
from hart.tuning.planner.proposal import Verification, fastest_kept
from hart.tuning.planner.search import front, refine, to_verify
from hart.tuning.planner.treatments import SELECTORS_TRIED, Treatment, other_selectors, treatment_of
from hart.tuning.planner.trials import TrialRunner
from hart.tuning.planner.verify import TIMED_EVERY, Verifier
from hart.tuning.workload import Workload
from tests.modules.test_enhanced_hart import config, paint

SMALL = {"num_search": 1, "num_verify": 2, "num_confirm": 1, "progress": False}
DROP_LAST = HARTCacheConfig(drop_stages=[64])


def content(images, prompts):
    """A judge whom every picture pleases."""
    return [1.0] * len(images)


def strict(model, seeds=4):
    """A judge whom only the full run's pictures please."""
    latents = [model.autoregressive_infer_cfg(1, None, g_seed=seed, cfg=4.5, decode=False) for seed in range(seeds)]
    known = [model.latent_to_img(f_hat).float().clamp(0, 1) for f_hat in latents]
    return lambda images, prompts: [float(any(torch.equal(images, one) for one in known))]


def trial(seconds, damage, source="search", tag="t", **settings):
    given = HARTCacheConfig(**settings).to_dict()
    return Trial(run_tag=tag, settings=given, source=source, seconds=seconds, relative_seconds=seconds, damage=damage)


def verification(speed_up, kept):
    return Verification(
        run_tag="t", settings={}, pictures=1, speed_up=speed_up, speed_low=speed_up, speed_high=speed_up,
        quality_drop=0, drop_low=0, drop_high=0, psnr=30, worse=0, better=0, kept=kept,
    )  # fmt: skip


@pytest.fixture(scope="module")
def found():
    """A plan that any picture pleases, with one candidate."""
    from tests.modules.models.transformer.conftest import build

    model = EnhancedHARTForT2I.from_hart(build())
    model.set_cache_config(None)
    return model.config, model.plan_cache(1.0, judge=content, candidates=[DROP_LAST], **SMALL)


@pytest.fixture
def quick(monkeypatch):
    """Candidates and one selector alone: it takes long enough."""
    replaced = {"cheaper": lambda *_: [], "reuse_by_similarity": lambda *_: [], "SELECTORS_TRIED": ["edge"]}
    for name, instead in replaced.items():
        monkeypatch.setattr(f"hart.tuning.planner.search.{name}", instead)


def test_with_a_content_judge_the_fastest_of_the_first_that_are_faster_wins(found):
    model_config, plan = found
    assert plan.judged_by == "caller" and plan.quality_drop == 0
    kept = [v for v in plan.verified if v.kept]
    assert all(v.speed_up > 1 for v in kept) and plan.confirmed[0].settings in [v.settings for v in kept]
    assert plan.chosen == plan.confirmed[-1] and plan.chosen.speed_low <= plan.speed_up <= plan.chosen.speed_high
    assert plan.config.run_tag() == plan.chosen.run_tag
    plan.config.validate([side * side for side in model_config.patch_nums], depth=model_config.depth)
    order = [t.run_tag for t in to_verify([t for t in plan.tried if t.source != "refinement"])]
    given = [v.run_tag for v in plan.verified if v.run_tag in order]
    assert given == order[: len(given)]


def test_an_interval_has_width_where_no_score_changed(found):
    chosen = found[1].chosen
    assert chosen.worse == chosen.better == 0 and chosen.drop_low < 0 < chosen.drop_high
    assert 0 < chosen.psnr <= 100


def test_what_it_cost_is_recorded(found):
    cost = found[1].cost
    tried = sum(2 for _ in found[1].tried)  # one picture each, and the full run's beside it
    both = [*found[1].verified, *found[1].confirmed]
    judged = sum(v.pictures + math.ceil(v.pictures / TIMED_EVERY) for v in both)
    assert cost.pictures == 1 + 1 + tried + 2 + 1 + judged  # full runs, one of them recorded for similarities
    assert cost.seconds > 0 and (cost.device, cost.num_verify, cost.num_confirm) == ("cpu", 2, 1) and cost.machine


def test_the_search_looks_at_every_kind_of_setting(found):
    tried = found[1].tried
    settings = [t.config.to_dict() for t in tried]
    assert tried[0].source == "candidate" and settings[0] == DROP_LAST.to_dict()
    assert [t.source for t in tried].count("selector") == len(SELECTORS_TRIED)
    assert any(HARTCacheConfig.from_dict(given).changes_nothing for given in settings)  # the full run
    assert any(s["unselected"] == "reuse" and s["attn_layers"] for s in settings)
    assert any(s["drop_stages"] for s in settings)
    assert any(s["refresh_ratio"] and s["unselected"] == "nothing" for s in settings)
    assert any(s["unguided_from"] for s in settings)
    assert all(t.damage > 0 for t in tried if t.config.drop_stages)


def test_with_a_strict_judge_and_no_budget_nothing_that_changes_pictures_is_kept(tiny, quick):
    plan = tiny.plan_cache(0.0, judge=strict(tiny), candidates=[DROP_LAST], **SMALL)
    dropped = next(found for found in plan.verified if found.run_tag == DROP_LAST.run_tag())
    assert dropped.worse == 1 and not dropped.kept  # given up at the first picture
    for found in (*plan.verified, *plan.confirmed):  # a setting may leave pictures as they were
        assert found.worse == 0 or not found.kept


def test_a_floor_of_psnr_counts_beside_the_score(tiny, quick):
    plan = tiny.plan_cache(1.0, judge=content, min_psnr=99.9, candidates=[DROP_LAST], **SMALL)
    stopped = next(v for v in plan.verified if v.run_tag == DROP_LAST.run_tag())
    assert not stopped.kept and stopped.psnr < 99.9 and plan.min_psnr == 99.9


def test_too_few_pictures_for_the_budget_are_warned_of(tiny, quick, caplog):
    tiny.plan_cache(0.02, judge=content, candidates=[], **SMALL)
    assert "a drop of 0.02 is 0.02 of 1 pictures" in caplog.text and "from 250 on" in caplog.text
    caplog.clear()
    tiny.plan_cache(0.02, candidates=[], **SMALL)
    assert "a drop of 0.02 is damage to the latent map and no share of pictures; give judge" in caplog.text
    caplog.clear()
    tiny.plan_cache(1, min_psnr=1, candidates=[], **SMALL)
    assert not caplog.records


@pytest.mark.parametrize("drop, enough", [(0, 500), (0.001, 500), (0.01, 500), (0.03, 167), (0.05, 100), (1.0, 20)])
def test_a_smaller_budget_takes_more_pictures(drop, enough):
    settings = PlanSettings(drop, 0, 12, None, None, cfg=4.5, judge=None, progress=False)
    assert settings.counts("program") == settings.counts("caller") == (12, enough, enough)
    assert settings.counts("latent") == (12, LATENT_MAPS, LATENT_MAPS)
    assert replace(settings, num_verify=3).counts("program") == (12, 3, enough)


@pytest.mark.parametrize("given", [[], [1.0, 1.0], [7.0], [float("nan")]])
def test_a_judge_gives_one_score_from_0_to_1(tiny, quick, given):
    with pytest.raises(ValueError, match=r"judge gave .* for one picture; allowed is one score from 0 to 1 for each"):
        tiny.plan_cache(1.0, judge=lambda images, prompts: given, candidates=[], **SMALL)


def test_thresholds_go_on_adapting_from_picture_to_picture(tiny, monkeypatch):
    runner = TrialRunner(tiny, Workload(tiny, 2, None), 0, 4.5, PlanJournal(None, {}))
    adaptive, begun_with = HARTCacheConfig(skip_stages=[64], cache_stages=[16], adaptive_threshold=True), []
    monkeypatch.setattr(runner.model, "set_cache_config", begun_with.append)  # which begins to adapt anew
    for index, settings in ((0, adaptive), (0, None), (1, adaptive), (1, DROP_LAST), (1, adaptive)):
        runner.paint(index, settings)
    assert begun_with == [adaptive, DROP_LAST, adaptive]


def test_presets_that_fit_are_candidates_where_none_are_given(enhanced, quick):
    sides = enhanced.config.patch_nums
    fitting = HARTCacheConfig.from_preset("conservative-cache", patch_nums=sides).run_tag()
    plan = enhanced.plan_cache(1.0, **SMALL)
    assert plan.judged_by == "latent" and 0 <= plan.quality_drop <= 1
    assert fitting in [t.run_tag for t in plan.tried if t.source == "candidate"]


def test_captions_of_the_embedded_model_are_judged_by_program(quick):
    model = EnhancedHARTForT2I.from_pretrained(embedded_model_path())
    captions = ["a 3d fox on a blue background", "a flat star on a green background"]
    few = {"num_search": 1, "num_verify": 1, "num_confirm": 1, "progress": False, "candidates": []}
    plan = model.plan_cache(1.0, captions, **few)
    assert plan.judged_by == "program"
    model.set_cache_config(plan.config)
    assert plan.verified[0].pictures == 1


def test_on_captions_of_the_embedded_model_the_budget_is_fidelity(quick):
    model = EnhancedHARTForT2I.from_pretrained(embedded_model_path())
    few = {"num_search": 1, "num_verify": 2, "num_confirm": 1, "progress": False}
    plan = model.plan_cache(candidates=[HARTCacheConfig(drop_stages=[256])], **few)
    assert (plan.judged_by, plan.max_quality_drop, plan.max_fidelity_loss) == ("fidelity", None, 0.5)
    stopped = plan.verified[0]
    assert stopped.pictures == 2 and stopped.drop_low < stopped.quality_drop < stopped.drop_high
    assert CacheProposal.model_validate_json(plan.model_dump_json()) == plan
    captions = ["a 3d fox on a blue background", "a flat star on a green background"]
    with pytest.raises(ValueError, match="max_fidelity_loss must be None but for captions of the embedded model"):
        model.plan_cache(prompts=captions, judge=content, max_fidelity_loss=1.0, **few)
    assert who_judges(model, ["a cat"], False) == "latent"


def settings_of(**given):
    fixed = {"seed": 0, "num_search": 12, "num_verify": None, "num_confirm": None, "cfg": 4.5, "judge": None}
    return PlanSettings(**{"max_quality_drop": None, **fixed, "progress": False, **given})


def test_the_budget_is_fidelity_where_the_truth_is_known():
    asked = settings_of()
    by_fidelity, judged_by = asked.with_budget("program")
    assert (by_fidelity.budget, judged_by) == (0.5, "fidelity") and by_fidelity.counts("fidelity") == (12, 48, 48)
    for other in ("latent", "caller"):
        elsewhere, judged_by = asked.with_budget(other)
        assert (elsewhere.max_quality_drop, elsewhere.budget, judged_by) == (0.01, 0.01, other)
    dropping = settings_of(max_quality_drop=0.0)
    assert dropping.with_budget("program") == (dropping, "program") and dropping.budget == 0
    given = settings_of(max_fidelity_loss=2)
    assert given.with_budget("program") == (given, "fidelity") and given.budget == 2


def test_by_fidelity_a_setting_is_given_up_when_its_interval_is_above_the_budget(monkeypatch):
    losses = [3.0, 3.5] * 20

    class Runner:
        full = SimpleNamespace(device=torch.device("cpu"), latent_to_img=lambda f_hat: f_hat)
        text_seconds = 0.0
        plain = [Painted(torch.zeros(1, 3, 2, 2), 2.0)] * len(losses)

        def __init__(self):
            self.journal = PlanJournal(None, {})

        def paint(self, index, config=None):
            return Painted(torch.full((1, 3, 2, 2), 0.5 * (config is not None)), 1.0 if config is None else 0.1)

        def prompt(self, index):
            return [str(index)]

    def scored(index, ours, images):
        return 20.0 - losses[index] * float(images.max() > 0)

    monkeypatch.setattr("hart.tuning.planner.verify._scorer", lambda *_: scored)
    for budget, pictures, kept in ((1.0, 8, False), (3.2, 40, False), (5.0, 40, True)):
        verifier = Verifier(Runner(), "verification", "fidelity", None, budget, None, False)
        found = verifier.verify(trial(1, 0, drop_stages=[64]))
        assert found.pictures == pictures and found.drop_low < found.quality_drop == pytest.approx(3.25)
        assert found.worse == pictures and found.kept is kept


def test_it_leaves_everything_as_it_was(enhanced, quick):
    enhanced.set_cache_config(config())
    paint(enhanced)
    before = enhanced.get_cache_statistics()
    enhanced.plan_cache(1.0, num_search=1, num_verify=1, num_confirm=1, judge=content, progress=False)
    assert enhanced.get_cache_statistics() == before
    assert enhanced.is_cache_enabled and not enhanced.calibration


def test_files(found, tmp_path):
    plan = found[1]
    plan.to_json(tmp_path / "plan.json")
    assert CacheProposal.from_json(tmp_path / "plan.json") == plan
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(ValueError, match=r"plan.json' is not a cache proposal \(format: "):
        CacheProposal.from_json(tmp_path / "plan.json")


def test_the_front_holds_what_nothing_beats():
    trials = [trial(3, 0.0), trial(1, 0.5), trial(2, 0.6), trial(1, 0.4), trial(2, 0.1)]
    assert [(t.relative_seconds, t.damage) for t in front(trials)] == [(1, 0.4), (2, 0.1), (3, 0.0)]


def test_candidates_are_verified_although_something_beats_them_and_the_full_run_never():
    trials = [
        trial(0.5, 0.1, tag="a", drop_stages=[64]),
        trial(0.7, 0.2, "candidate", tag="b", drop_stages=[64]),
        trial(0.8, 0.3, tag="c", drop_stages=[64]),
        trial(0.99, 0.0, tag="full"),
    ]
    assert [t.run_tag for t in to_verify(trials)] == ["a", "b"]


def test_the_fastest_that_was_kept_is_chosen():
    verified = [verification(1.9, False), verification(1.4, True), verification(1.5, True)]
    assert fastest_kept(verified) is verified[2] and fastest_kept(verified[:1]) is None


STAGES = [1, 4, 16, 64]


def test_settings_that_leave_tokens_out_are_treatments():
    part = HARTCacheConfig(skip_stages=[16], refresh_ratio={16: 0.5}, unselected="nothing", drop_stages=[64],
                           unguided_from=16, token_selector="edge")  # fmt: skip
    assert treatment_of(part, STAGES) == Treatment((4, 16, 64), (1.0, 0.5, 0.0), 16, "edge")
    assert treatment_of(treatment_of(part, STAGES).config(), STAGES) == treatment_of(part, STAGES)
    assert treatment_of(HARTCacheConfig(), STAGES).shares == (1.0, 1.0, 1.0)
    assert treatment_of(HARTCacheConfig(skip_stages=[16], unselected="nothing"), STAGES).shares == (1.0, 0.0, 1.0)
    assert treatment_of(HARTCacheConfig(skip_stages=[16], cache_stages=[4]), STAGES) is None
    assert treatment_of(HARTCacheConfig(skip_stages=[16], unselected="nothing", enable_mlp_cache=False), STAGES) is None
    assert treatment_of(HARTCacheConfig(drop_stages=[4]), [1, 4, 16, 64, 100, 144]) is None  # no late one


class Stairs:
    """A runner of trials and a verifier in one: the more is left out, the faster; more than one stage is too much."""

    full = SimpleNamespace(config=SimpleNamespace(patch_nums=(1, 2, 4, 8)))

    def trial(self, config, source):
        left_out = sum(1 - share for share in treatment_of(config, STAGES).shares)
        return trial(1 / (1 + left_out), left_out, source, tag=config.run_tag()).model_copy(
            update={"settings": config.to_dict()}
        )

    def verify(self, tried):
        found = verification(1 / tried.relative_seconds, tried.damage <= 1)
        return found.model_copy(update={"run_tag": tried.run_tag, "settings": tried.settings})


def test_refining_goes_on_while_a_cheaper_step_keeps_the_budget():
    stairs, full = Stairs(), HARTCacheConfig()
    verified = [stairs.verify(stairs.trial(full, "candidate"))]
    tried = refine(stairs, stairs, verified, progress=False)
    assert fastest_kept(verified).speed_up == 2  # one stage's worth is left out
    assert {t.source for t in tried} == {"refinement"} and any(not v.kept for v in verified)
    assert refine(stairs, stairs, [], progress=False) == []


def test_refining_begins_at_the_fastest_that_can_be_taken_further():
    stairs, reused = Stairs(), HARTCacheConfig(skip_stages=[64], cache_stages=[16])
    fastest = verification(3.0, True).model_copy(update={"settings": reused.to_dict()})
    verified = [fastest, stairs.verify(stairs.trial(HARTCacheConfig(), "candidate"))]
    assert refine(stairs, stairs, verified, progress=False)
    assert fastest_kept(verified[1:]).speed_up == 2


def test_a_killed_plan_goes_on(tmp_path):
    path, config = tmp_path / "plan.jsonl", HARTCacheConfig(drop_stages=[64])
    first = PlanJournal(path, {"seed": 0})
    painted = first.once("search", config, Trial, lambda: trial(0.5, 0.1, drop_stages=[64]))
    path.write_text(path.read_text() + '{"key": "torn')
    again = PlanJournal(path, {"seed": 0})
    assert again.once("search", config, Trial, lambda: pytest.fail("painted again")) == painted
    other = again.once("verification", config, Trial, lambda: trial(0.6, 0.1, drop_stages=[64]))
    assert other != painted and len(path.read_text().splitlines()) == 3
    with pytest.raises(ValueError, match=r"plan.jsonl' holds the steps of another plan; choose another folder"):
        PlanJournal(path, {"seed": 1})
    with pytest.raises(ValueError, match=r"a step in .*plan.jsonl' cannot be read \(pictures: Field required"):
        again.once("search", config, Verification, lambda: pytest.fail("painted again"))


def test_every_part_has_prompts_of_its_own():
    six = split_prompts(None, list("abcdef"), (1, 1, 1), 0)
    assert six == (["a", "d"], ["b", "e"], ["c", "f"])
    assert split_prompts(None, ["a", "b"], (1, 1, 1), 0) == (["a"], ["b"], ["b"])


def test_captions_that_are_kept_apart_are_not_judged_by():
    model = SimpleNamespace(config=SimpleNamespace(name_or_path=str(embedded_model_path())))
    run = [scene.caption() for scene in draw_scenes(70, "held-out", 0)]
    parts = split_prompts(model, None, (5, 40, 44), 7, run)
    assert [len(part) for part in parts] == [5, 40, 44]
    assert not set(parts.verify) & set(parts.confirm) and not set(run) & {*parts.verify, *parts.confirm}
    short = split_prompts(model, None, (5, 100, 50), 7, run)  # the captions are used again with other seeds
    free = len(short.verify) + len(short.confirm)
    assert 0 < len(short.confirm) < 50 and len(short.verify) == 2 * round(free / 3)  # pairs of sizes stay together
    assert not set(short.verify) & set(short.confirm) and not set(run) & {*short.verify, *short.confirm}
    for captions in (*parts[1:], *short[1:]):  # the run's mix of big and small objects
        assert [parse_caption(caption).size for caption in captions] == ["big", "small"] * (len(captions) // 2)
    everything = {scene.caption() for scene in draw_scenes(num_scenes("held-out"), "held-out", 0)}
    with pytest.raises(ValueError, match=r"kept_apart holds 154 captions and leaves 0 of one size; allowed are two"):
        split_prompts(model, None, (5, 100, 100), 7, everything)
    with pytest.raises(ValueError, match=r"num_search is 100000; allowed are 1 to \d+\."):
        split_prompts(model, None, (100_000, 1, 1), 7)


def test_pictures_that_lost_before_come_first():
    """So what is hopeless is given up early."""
    painted = []

    class TrialRunner:
        full = SimpleNamespace(device=torch.device("cpu"), latent_to_img=lambda f_hat: f_hat)
        journal, text_seconds = PlanJournal(None, {}), 0.0
        plain = [Painted(torch.zeros(1, 3, 2, 2), 2.0)] * 10

        def paint(self, index, config=None):
            painted.append(index)
            return Painted(torch.full((1, 3, 2, 2), float(config is not None and index >= 5)), 1.0)

        def prompt(self, index):
            return []

    verifier = Verifier(
        TrialRunner(), "verification", "caller", lambda images, _: [1 - float(images.max())], 0.0, None, False
    )
    first = verifier.verify(trial(1, 0, drop_stages=[64]))
    assert first.pictures == 6 and first.worse == 1 and not first.kept  # nothing can make up for a loss
    painted.clear()
    second = verifier.verify(trial(1, 0, drop_stages=[16]))
    assert second.pictures == 1 and set(painted) == {5}
    verifier.scores[2] = 0.0  # what the full run got wrong may come out right
    third = verifier.verify(trial(1, 0, drop_stages=[4]))
    assert third.pictures == 7 and (third.worse, third.better) == (2, 1)


def test_what_was_kept_is_confirmed_up_to_the_first_that_is_kept_again():
    trials = [trial(1, 0, tag=str(stage), drop_stages=[stage]) for stage in (4, 16, 64)]
    kept = [
        verification(speed, True).model_copy(update={"settings": tried.settings})
        for speed, tried in zip((1, 2, 3), trials, strict=True)
    ]
    seen = []
    confirming = SimpleNamespace(
        progress=False, verify=lambda tried: seen.append(tried) or verification(2, tried is not trials[2])
    )
    found = Verifier.confirm(confirming, kept, trials)
    assert seen == [trials[2], trials[1]] and [one.kept for one in found] == [False, True]


def test_slower_settings_are_verified_where_nothing_is_confirmed():
    tried = [trial(seconds, damage, tag=str(seconds), drop_stages=[stage]) for seconds, damage, stage in
             ((0.5, 3, 4), (0.7, 2, 16), (0.9, 1, 64))]  # fmt: skip

    class Half:
        """Keeps what is slow enough."""

        def __init__(self, slow_enough):
            self.slow_enough, self.looked_at = slow_enough, []

        def verify(self, found):
            self.looked_at.append(found.relative_seconds)
            kept = found.relative_seconds >= self.slow_enough
            return verification(1 / found.relative_seconds, kept).model_copy(update={"settings": found.settings})

        progress = False
        verify_in_turn, confirm = Verifier.verify_in_turn, Verifier.confirm

    verifier, confirmer = Half(0.5), Half(0.9)
    verified = verifier.verify_in_turn(to_verify(tried))
    assert verifier.looked_at == [0.5]  # it is kept, and nothing is nearly as fast
    confirmed = confirm(verifier, confirmer, verified, tried)
    assert confirmer.looked_at == verifier.looked_at == [0.5, 0.7, 0.9]
    assert [found.kept for found in confirmed] == [False, False, True]
    nothing = confirm(Half(0.5), Half(2.0), [], tried)
    assert len(nothing) == 3 and fastest_kept(nothing) is None


def test_other_selectors_matter_where_a_part_is_run():
    part = Treatment((16, 64), (1.0, 0.5), selector="edge")
    assert [other.selector for other in other_selectors(part)] == ["fhat_cosine", "fastvar"]
    assert list(other_selectors(Treatment((16, 64), (1.0, 0.0)))) == []


@pytest.mark.parametrize(
    "given, sentence",
    [
        ({"max_quality_drop": 2}, r"max_quality_drop is 2; allowed is a number from 0 to 1"),
        ({"max_quality_drop": "1%"}, r"max_quality_drop is '1%'"),
        ({"max_fidelity_loss": -1}, r"max_fidelity_loss must be None or a number from 0 to 100 \(dB\), got -1\."),
        ({"max_fidelity_loss": True}, r"max_fidelity_loss must be None or a number from 0 to 100 \(dB\), got True\."),
        ({"max_fidelity_loss": 1, "max_quality_drop": 0.1}, r"must be None beside max_quality_drop=0.1, got 1\."),
        ({"max_fidelity_loss": 1}, r"max_fidelity_loss must be None but for captions of the embedded model"),
        ({"num_search": 0}, r"num_search is 0; allowed is a whole number from 1"),
        ({"num_verify": True}, r"num_verify is True"),
        ({"num_confirm": 0}, r"num_confirm is 0"),
        ({"prompts": ["a cat"]}, r"prompts is \['a cat'\]; allowed is a list of at least two texts"),
        ({"prompts": "cats"}, r"prompts is 'cats'"),
        ({"min_psnr": -1}, r"min_psnr is -1; allowed is None or a number from 0 to 100"),
        ({"candidates": ["ultra-fast"]}, r"candidates\[0\] is 'ultra-fast'; allowed are HARTCacheConfigs"),
        ({"candidates": [HARTCacheConfig(drop_stages=[3])]}, r"candidates\[0\]: drop_stages"),
    ],
)
def test_bad_input(tiny, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        tiny.plan_cache(**given)
