"""Counters and what is read from them."""

import json
from threading import Thread

import pytest
import torch

from hart.modules.cache.statistics import DISSIMILAR, EMPTY, MOST_KEPT, CacheStatistics
from hart.utils.intervals import percentile


def test_nothing_seen():
    found = CacheStatistics().to_dict()
    assert found["cache_hit_rate"] == 0.0
    assert found["hits"] == 0
    assert found["misses"] == {"dissimilar": 0, "empty": 0}
    assert found["similarity_stats"] == {}
    assert found["flops_saved_ratio"] == 0.0
    assert found["per_stage"] == found["per_branch"] == {}


def test_hits_and_misses_by_hand():
    run = CacheStatistics()
    run.hit("attn", 256, count=6)
    run.miss("mlp", 256, DISSIMILAR, count=3)
    run.hit("mlp", 256, count=3)
    run.miss("attn", 169, EMPTY)
    found = run.to_dict()
    assert found["hits"] == 9
    assert found["misses"] == {"dissimilar": 3, "empty": 1}
    assert found["cache_hit_rate"] == pytest.approx(9 / 13)
    assert list(found["per_stage"]) == ["169", "256"]
    assert found["per_stage"]["169"] == {"cache_hit_rate": 0.0, "hits": 0, "misses": {"dissimilar": 0, "empty": 1}}
    assert found["per_branch"]["attn"]["cache_hit_rate"] == pytest.approx(6 / 7)
    assert found["per_branch"]["mlp"]["hits"] == 3


def test_similarities_by_hand():
    run = CacheStatistics()
    for value in (0.1, 0.2, 0.3, 0.4, 0.5):
        run.similarity("attn", 0, 256, value)
    run.similarity("mlp", 0, 256, torch.tensor([0.2, 0.4]))
    found = run.to_dict()["similarity_stats"]
    assert found["attn"] == {
        "mean": pytest.approx(0.3),
        "std": pytest.approx(0.02**0.5),
        "min": 0.1,
        "max": 0.5,
        "median": pytest.approx(0.3),
        "p80": pytest.approx(0.42),
        "p90": pytest.approx(0.46),
        "count": 5,
    }
    assert found["mlp"]["mean"] == pytest.approx(0.3)
    assert found["mlp"]["count"] == 1


def test_percentiles_are_those_of_torch():
    values = torch.rand(37, dtype=torch.float64).sort().values
    for percent in (0, 20, 50, 80, 90, 100):
        expected = torch.quantile(values, percent / 100).item()
        assert percentile(values.tolist(), percent) == pytest.approx(expected)


def test_tensors_are_not_read_before_someone_asks():
    """A meta tensor has no value to read: keeping it is possible, reading is not."""
    run = CacheStatistics()
    run.similarity("attn", 0, 256, torch.empty(2, device="meta"))
    run.hit("attn", 256)
    with pytest.raises((NotImplementedError, RuntimeError)):
        run.to_dict()


def test_it_is_json_and_comes_back_equal():
    run = CacheStatistics()
    run.hit("attn", 256)
    run.similarity("attn", 1, 256, torch.tensor(0.5))
    run.similarity("attn", 1, 256, float("nan"))
    run.flops(computed={256: 20, 64: 10}, saved=10)
    run.bytes_held(99)
    found = run.to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["flops_saved_ratio"] == 0.25 and found["flops_computed"] == 30
    assert found["flops_per_stage"] == {"64": 10, "256": 20}
    assert found["cache_peak_bytes"] == 99


def test_observations_keep_place_and_order():
    run = CacheStatistics()
    run.similarity("attn", 1, 169, torch.tensor(0.25))
    run.similarity("attn", 0, 256, 0.5)
    assert run.observations() == [(("attn", 1, 169), 0.25), (("attn", 0, 256), 0.5)]


def test_runs_add_up():
    total = CacheStatistics()
    for peak in (50, 80, 60):
        run = CacheStatistics()
        run.hit("attn", 256, count=2)
        run.miss("attn", 256, DISSIMILAR)
        run.similarity("attn", 0, 256, torch.tensor(peak / 100))
        run.flops(computed={256: 1}, saved=1)
        run.bytes_held(peak)
        total.merge(run)
    found = total.to_dict()
    assert (found["hits"], found["misses"]["dissimilar"]) == (6, 3)
    assert found["cache_peak_bytes"] == 80
    assert found["similarity_stats"]["attn"]["median"] == pytest.approx(0.6)
    total.reset()
    assert total.to_dict() == CacheStatistics().to_dict()


def test_memory_stays_bounded_and_the_count_goes_on():
    total = CacheStatistics()
    for _ in range(3):
        run = CacheStatistics()
        for index in range(MOST_KEPT):
            run.similarity("mlp", 0, 256, float(index))
        total.merge(run)
    assert len(total.observations()) == MOST_KEPT
    assert total.to_dict()["similarity_stats"]["mlp"]["count"] == 3 * MOST_KEPT


def test_reading_and_resetting_beside_merging():
    """A reader never sees a count change under its hands."""
    total, wrong = CacheStatistics(), []
    run = CacheStatistics()
    for stage in range(50):
        run.hit("attn", stage)

    def merge():
        try:
            for index in range(300):
                total.merge(run)
                if index % 50 == 0:
                    total.reset()
        except RuntimeError as error:
            wrong.append(error)

    threads = [Thread(target=merge) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        counted = total.to_dict()
        assert counted["hits"] == sum(entry["hits"] for entry in counted["per_stage"].values())
        assert counted["hits"] % 50 == 0
    assert wrong == []
