"""How long to train, and the learning rate on the way."""

import os
import signal

import pytest

from training import budget
from training.budget import Budget, decay_factor, rate_factor, stopped_by_signals


@pytest.fixture
def clock(monkeypatch):
    """A clock that tests set, in seconds."""
    now = [100.0]
    monkeypatch.setattr(budget.time, "monotonic", lambda: now[0])
    return now


def test_the_rate_is_constant_and_falls_over_the_last_fifth():
    shares = [0.0, 0.5, 0.8, 0.9, 1.0]
    assert [decay_factor(share) for share in shares] == pytest.approx([1, 1, 1, 0.5, 0])
    assert decay_factor(0.75, decay=0.5) == pytest.approx(0.5)


def test_every_start_warms_up():
    assert rate_factor(0.5, 0, warmup=10) == pytest.approx(0.1)
    assert rate_factor(0.5, 9, warmup=10) == rate_factor(0.5, 500, warmup=10) == 1
    assert rate_factor(0.9, 4, warmup=10) == pytest.approx(0.25)


def test_the_share_is_of_steps_or_minutes_whichever_is_further(clock):
    both = Budget(steps=100, minutes=10)
    clock[0] += 120
    assert both.share(10) == pytest.approx(0.2) and both.share(70) == pytest.approx(0.7)
    assert Budget(steps=100).share(250) == 1


def test_minutes_go_on_over_pieces(clock):
    second = Budget(minutes=10, piece_minutes=2, done_seconds=300)
    assert second.share(0) == pytest.approx(0.5) and not second.piece_is_over()
    clock[0] += 120
    assert second.share(0) == pytest.approx(0.7) and second.piece_is_over() and second.seconds == 420


@pytest.mark.parametrize("values", [{}, {"steps": 0}, {"minutes": -1.0}, {"steps": 1, "piece_minutes": 0.0}])
def test_a_budget_that_is_none_is_refused(values):
    with pytest.raises(ValueError, match=r"must be (given|above 0), got"):
        Budget(**values)


def test_signals_ask_for_the_end_and_are_given_back():
    before = signal.getsignal(signal.SIGTERM)
    with stopped_by_signals() as stop:
        assert not stop.asked
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before
