"""Shares of several processes."""

import pytest
import torch

from hart.utils.ranks import Rank, rank_of_process


@pytest.fixture
def environment(monkeypatch):
    def environment(**variables):
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return environment


def test_a_process_alone_has_everything(environment):
    environment()
    assert rank_of_process() == Rank() and Rank().share("ab") == [(0, "a"), (1, "b")]
    assert Rank().named("results.json") == "results.json" and Rank().device("cuda") == "cuda"


def test_shares_are_disjoint_and_complete(environment):
    environment(RANK="1", WORLD_SIZE="3", LOCAL_RANK="1")
    assert rank_of_process() == Rank(1, 3, 1) and rank_of_process().share("abcde") == [(1, "b"), (4, "e")]
    everything = [pair for index in range(3) for pair in Rank(index, 3).share("abcde")]
    assert sorted(everything) == list(enumerate("abcde"))
    assert Rank(1, 3).named("results.json") == "results_rank1.json"


def test_each_process_has_its_card(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert Rank(5, 8, 1).device(None) == "cuda:1" and Rank(5, 8, 1).device("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Rank(5, 8, 1).device(None) is None


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [({"RANK": "x"}, "RANK must be a whole number, got 'x'"), ({"RANK": "2", "WORLD_SIZE": "2"}, "got 2 and 2")],
)
def test_what_does_not_fit(environment, variables, sentence):
    environment(**variables)
    with pytest.raises(ValueError, match=sentence):
        rank_of_process()
