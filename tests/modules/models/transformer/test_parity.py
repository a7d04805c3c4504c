"""Ours equals the published model: every recorded tensor of every recorded run, within the specified limits."""

import pytest

from tests.golden import load
from tests.parity import NOT_COMPARED, RUNS, TRAINING_RUNS, replay, replay_training


@pytest.mark.parametrize("run", RUNS)
def test_a_recorded_generation_is_repeated(run):
    report = replay(run)
    assert not report.too_large()
    recorded, _ = load(run)
    expected = {name for name in recorded if not name.startswith(NOT_COMPARED) and not name.endswith(".idx")}
    assert expected <= set(report.compared)


@pytest.mark.parametrize("run", TRAINING_RUNS)
def test_a_recorded_training_pass_is_repeated(run):
    report = replay_training(run)
    assert set(report.worst) == {"logits", "loss"}
    assert not report.too_large()
