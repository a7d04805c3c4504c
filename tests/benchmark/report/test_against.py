"""Two runs side by side."""

import pytest

from hart.benchmark.report.against import compare_runs
from tests.benchmark.conftest import setting


def test_seconds_are_compared_on_one_machine_only(results_of):
    here, there = (results_of(setting("no-cache", 1.0, 0.0), setting("fast", speed, 0.1)) for speed in (1.25, 2.0))
    same = compare_runs(here, there).splitlines()
    assert same[0].count("there") == 4
    assert same[-1].startswith("| fast | 1.25x (") and same[-1].endswith("| 0.800 | 0.500 | speed-up |")
    there.machine.cores, there.work.dtype = 64, "bfloat16"
    other = compare_runs(here, there).splitlines()
    assert other[0].endswith("seconds are not compared: cores: 2 and 64; dtype: float32 and bfloat16.")
    assert "seconds here" not in "".join(other[1:]) and other[-1].count("70.0% (") == 2


def test_of_one_round_nobody_knows(results_of):
    here, there = (results_of(setting("no-cache", 1.0), setting("fast", s), prompts=("a cat",)) for s in (1.3, 1.9))
    assert compare_runs(here, there).endswith("| speed-up not known (one round) |")


def test_scores_of_other_prompts_or_seeds_are_not_compared(results_of):
    here, there = (results_of(setting("no-cache", 1.0, 0.0)) for _ in range(2))
    there.work.seed, there.work.prompts = 7, ["a bird"]
    lines = compare_runs(here, there).splitlines()
    assert lines[0] == "Not the same in both runs, so scores are not compared: seed: 0 and 7; prompts."
    assert "prompt score" not in lines[2] and lines[-1].endswith("| 1.000 | 1.000 | within chance |")


def test_other_code_and_weights_are_noted(results_of):
    here, there = (results_of(setting("no-cache", 1.0, 0.0)) for _ in range(2))
    here.machine.git_revision, here.work.weights, there.work.weights = "abc", "1" * 64, "2" * 64
    assert compare_runs(here, there).splitlines()[:2] == [
        "Note: git revision: abc and None.",
        "Note: weights: 111111111111 and 222222222222 (SHA-256).",
    ]


def test_another_tokenizer_or_text_model_is_noted_where_both_are_known(results_of):
    here, there = (results_of(setting("no-cache", 1.0, 0.0)) for _ in range(2))
    here.work.other_weights = {"tokenizer": "1" * 64, "text model": "3" * 64}
    assert compare_runs(here, there).startswith("| setting")
    there.work.other_weights = here.work.other_weights | {"text model": "4" * 64}
    (note,) = [line for line in compare_runs(here, there).splitlines() if line.startswith("Note")]
    assert note == "Note: weights of the text model: 333333333333 and 444444444444 (SHA-256)."


def test_other_settings_of_the_same_name_are_said(results_of):
    here, there = results_of(setting("a", 1.0)), results_of(setting("a", 1.0))
    there.settings[0].config = {"threshold": 0.1}
    assert "| a (other settings there) |" in compare_runs(here, there)


def test_runs_must_share_a_setting(results_of):
    with pytest.raises(ValueError, match="the other run measured b; allowed are results that share"):
        compare_runs(results_of(setting("a", 1.0)), results_of(setting("b", 1.0)))


def test_fidelity_is_compared_where_both_runs_have_it(results_of):
    here, there = (results_of(setting("no-cache", 1.0, 0.0, lost=lost)) for lost in (0.0, 3.0))
    table = compare_runs(here, there)
    assert "22.00 dB (21.00 to 23.00)" in table and "19.00 dB" in table and "fidelity |" in table.splitlines()[-1]
    assert "fidelity" not in compare_runs(here, results_of(setting("no-cache", 1.0, 0.0)))
