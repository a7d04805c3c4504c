"""Plans that are made before a run."""

import pytest

from hart.benchmark import __main__ as program
from hart.benchmark.peers import peer_names
from hart.benchmark.planning import peer_configs, planned_setting
from hart.benchmark.results import Results
from hart.benchmark.work import WorkRequest
from hart.modules.cache.proposal import CacheProposal
from hart.modules.cache_config import HARTCacheConfig
from hart.modules.enhanced_hart import EnhancedHARTForT2I

REQUEST = WorkRequest(num_pictures=1, batch_size=1, prompts=("a cat", "a dog"))
SIDES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Candidates and one selector alone: it takes long enough."""
    replaced = {"cheaper": lambda *_: [], "reuse_by_similarity": lambda *_: [], "SELECTORS_TRIED": ["edge"]}
    for name, instead in replaced.items():
        monkeypatch.setattr(f"hart.modules.cache.planner_search.{name}", instead)


def test_all_peers_that_fit_are_candidates(caplog):
    assert len(peer_configs(SIDES)) == len(peer_names())
    assert len(peer_configs((1, 2))) < len(peer_names()) and "peer/fastvar leaves" in caplog.text


def test_a_plan_is_saved_and_taken_again(pipeline, checkpoint_root, tmp_path, monkeypatch):
    calibrated = HARTCacheConfig(skip_stages=[256], cache_stages=[169], estimator="calibrated")
    given = {"num_search": 1, "num_verify": 1, "candidates": [calibrated], "progress": False}
    setting = planned_setting(pipeline, 1.0, REQUEST, tmp_path, str(checkpoint_root), **given)
    assert setting.kind == "plan" and "settings tried" in setting.why
    plan = CacheProposal.from_json(tmp_path / "plan.json")
    assert plan.tried[0].settings["sim_path"].endswith("similarity.json")
    assert (plan.seed, plan.judged_by) == (100_000, "latent")
    monkeypatch.setattr(EnhancedHARTForT2I, "plan_cache", lambda *_, **__: pytest.fail("planned again"))
    assert planned_setting(pipeline, 1.0, REQUEST, tmp_path, str(checkpoint_root), **given) == setting
    with pytest.raises(ValueError, match=r"was planned for a drop and PSNR of \(1.0, None\), not \(0.5, 30\)"):
        planned_setting(pipeline, 0.5, REQUEST, tmp_path, str(checkpoint_root), 30, **given)


def test_the_command_line_plans_and_measures(checkpoint_root, tmp_path, monkeypatch):
    monkeypatch.setattr("hart.benchmark.planning.peer_configs", lambda sides: [])
    (tmp_path / "prompts.txt").write_text("a cat\na dog\n")
    flags = ["--checkpoint", str(checkpoint_root), "--prompts_file", str(tmp_path / "prompts.txt")]
    flags += ["--num_pictures", "1", "--batch_size", "1", "--no-memory", "--speed_only", "--settings", "no-cache"]
    flags += ["--plan", "1", "--plan_pictures", "1", "1", "--output_dir", str(tmp_path / "out")]
    assert program.main(flags) == 0
    measured = Results.from_json(tmp_path / "out/results.json").settings
    assert [(setting.name, setting.kind) for setting in measured] == [("no-cache", "preset"), ("plan", "plan")]
