"""Plans that are made before a run."""

import json
from dataclasses import replace

import pytest

from hart.benchmark import __main__ as program
from hart.benchmark.results import Results
from hart.benchmark.run.planning import PlanRequest, peer_configs, planned_setting
from hart.benchmark.run.runner import run_benchmark
from hart.benchmark.run.work import WorkRequest
from hart.benchmark.settings.choose import choose_settings
from hart.benchmark.settings.peers import peer_names
from hart.modules.cache_config import HARTCacheConfig
from hart.modules.enhanced_hart import EnhancedHARTForT2I
from hart.tuning.planner.proposal import CacheProposal

REQUEST = WorkRequest(num_pictures=1, batch_size=1, prompts=("a cat", "a dog"))
SIDES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Candidates and one selector alone: it takes long enough."""
    replaced = {"cheaper": lambda *_: [], "reuse_by_similarity": lambda *_: [], "SELECTORS_TRIED": ["edge"]}
    for name, instead in replaced.items():
        monkeypatch.setattr(f"hart.tuning.planner.search.{name}", instead)


def test_all_peers_that_fit_are_candidates(caplog):
    assert len(peer_configs(SIDES)) == len(peer_names())
    assert len(peer_configs((1, 2))) < len(peer_names()) and "peer/fastvar leaves" in caplog.text


def test_a_plan_is_saved_and_taken_again(pipeline, checkpoint_root, tmp_path, monkeypatch):
    calibrated = HARTCacheConfig(skip_stages=[256], cache_stages=[169], estimator="calibrated")
    asked = PlanRequest(1.0, counts=(1, 1, 1), candidates=[calibrated])
    given = (REQUEST, tmp_path, str(checkpoint_root), False)
    setting = planned_setting(pipeline, asked, *given)
    assert setting.kind == "plan" and "settings tried" in setting.why
    plan = CacheProposal.from_json(tmp_path / "plan.json")
    assert plan.tried[0].config.sim_path.endswith("similarity.json")
    assert (plan.seed, plan.judged_by) == (100_000, "latent")
    monkeypatch.setattr(EnhancedHARTForT2I, "plan_cache", lambda *_, **__: pytest.fail("planned again"))
    assert planned_setting(pipeline, asked, *given) == setting
    for changed, sentence in (
        ({"min_psnr": 30}, "plan.min_psnr is None there and 30 here"),
        ({"counts": (1, 1, 2)}, "plan.num_confirm is 1 there and 2 here"),
        ({"budget": 0.5}, "plan.drop is 1.0 there and 0.5 here"),
        ({"max_fidelity_loss": 1}, "plan.fidelity_loss is None there and 1 here"),
    ):
        with pytest.raises(ValueError, match=f"holds another run: {sentence}; choose another folder"):
            planned_setting(pipeline, replace(asked, **changed), *given)
    with pytest.raises(ValueError, match=r"holds another run: work\.seed is 0 there and 1 here"):
        planned_setting(pipeline, asked, replace(REQUEST, seed=1), *given[1:])
    with pytest.raises(ValueError, match=r"plan.prompts.* is .* there and .* here"):
        planned_setting(pipeline, asked, replace(REQUEST, prompts=("a cat", "a cow")), *given[1:])
    there = json.loads((tmp_path / "plan_request.json").read_text())
    (tmp_path / "plan_request.json").write_text(json.dumps(there | {"git_revision": "older"}))
    with pytest.raises(ValueError, match="git_revision is 'older' there"):
        planned_setting(pipeline, asked, *given)
    assert planned_setting(pipeline, asked, *given, any_revision=True) == setting
    (tmp_path / "plan_request.json").unlink()
    with pytest.raises(ValueError, match=r"holds plan.json and no plan_request.json .* measure a plan with --files"):
        planned_setting(pipeline, asked, *given)
    with pytest.raises(ValueError, match="compiled is True with a plan"):
        planned_setting(pipeline, asked, replace(REQUEST, compiled=True), *given[1:])


def test_a_plan_asks_for_three_numbers_of_pictures():
    with pytest.raises(ValueError, match=r"counts is \(1, 2\); allowed are three numbers: num_search"):
        PlanRequest(1.0, counts=(1, 2))


def test_a_request_that_was_refused_binds_nobody(pipeline, checkpoint_root, tmp_path):
    with pytest.raises(ValueError, match="max_quality_drop is 5; allowed is"):
        planned_setting(pipeline, PlanRequest(5, candidates=[]), REQUEST, tmp_path, str(checkpoint_root), False)
    asked = PlanRequest(1.0, counts=(1, 1, 1), candidates=[])
    assert planned_setting(pipeline, asked, REQUEST, tmp_path, str(checkpoint_root), False).kind == "plan"


def test_a_folder_whose_run_cannot_take_the_plan_is_refused_before_planning(pipeline, checkpoint_root, tmp_path):
    plain = choose_settings(SIDES, pipeline.model.config.depth, ["no-cache"])
    quiet = {"memory": False, "progress": False, "speed_only": True}
    run_benchmark(pipeline, plain, REQUEST, tmp_path, str(checkpoint_root), **quiet)
    for request, sentence in (
        (REQUEST, "holds a run without a plan; choose another folder"),
        (replace(REQUEST, seed=3), "holds another run: work.seed is 0 there and 3 here"),
    ):
        with pytest.raises(ValueError, match=sentence):
            planned_setting(pipeline, PlanRequest(1.0), request, tmp_path, str(checkpoint_root))


@pytest.mark.parametrize(
    "given, planned",
    [((), None), (("a cat", "a dog"), ["a cat", "a dog"]), (tuple("abcd"), ["b", "c", "d"])],
)
def test_a_plan_paints_what_the_run_does_not(pipeline, checkpoint_root, tmp_path, monkeypatch, given, planned):
    asked = {}
    monkeypatch.setattr(
        EnhancedHARTForT2I, "plan_cache", lambda *args, **kw: asked.update(kw, args=args) or _NotSaved()
    )
    request = replace(REQUEST, prompts=given)
    with pytest.raises(FileNotFoundError):
        planned_setting(pipeline, PlanRequest(1.0, candidates=[]), request, tmp_path, str(checkpoint_root))
    assert asked["args"][2] == planned and asked["encode"] == pipeline.encode
    assert len(asked["kept_apart"]) == 1  # the prompt of the run's one picture
    assert asked["journal"] == tmp_path / "plan.jsonl"


class _NotSaved:
    def to_json(self, path):
        pass


def test_the_command_line_plans_and_measures(checkpoint_root, tmp_path, monkeypatch):
    monkeypatch.setattr("hart.benchmark.run.planning.peer_configs", lambda sides: [])
    (tmp_path / "prompts.txt").write_text("a cat\na dog\n")
    flags = ["--checkpoint", str(checkpoint_root), "--prompts_file", str(tmp_path / "prompts.txt")]
    flags += ["--num_pictures", "1", "--batch_size", "1", "--no-memory", "--speed_only", "--settings", "no-cache"]
    flags += ["--plan", "1", "--plan_pictures", "1", "1", "1", "--output_dir", str(tmp_path / "out")]
    assert program.main(flags) == 0
    measured = Results.from_json(tmp_path / "out/results.json").settings
    assert [(setting.name, setting.kind) for setting in measured] == [("no-cache", "preset"), ("plan", "plan")]
