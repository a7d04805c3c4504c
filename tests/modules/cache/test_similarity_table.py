"""Recorded similarities: tables, files, and what a run would compare."""

import json

import pytest
import torch

from hart.modules.cache.config import HARTCacheConfig
from hart.modules.cache.similarity_table import Calibration, Compared, as_a_run_would, check_table

SIDES = (1, 2, 4, 8)


def recorded(compared: Compared | None = None) -> Calibration:
    calibration = Calibration(compared)
    calibration.observe([(("attn", 0, 64), torch.tensor([0.5, 0.75])), (("mlp", 0, 64), torch.tensor([0.25]))])
    calibration.observe([(("attn", 0, 64), torch.tensor([1.0]))], [(("attn", 0, 64), 0.125)])
    return calibration


def test_tables_by_hand():
    calibration = recorded()
    assert calibration.table() == {("attn", 0, 64): 0.75, ("mlp", 0, 64): 0.25}
    assert calibration.table(20.0) == {("attn", 0, 64): pytest.approx(0.6), ("mlp", 0, 64): 0.25}
    assert calibration.values("attn") == [0.5, 0.75, 1.0] and calibration.values("attn", [16]) == []
    assert calibration.estimates("attn", [64]) == [0.125]


def test_a_file_keeps_all_that_was_said(tmp_path):
    compared = Compared("relative_l2", "area", {4: 1, 16: 4, 64: 4})
    recorded(compared).to_json(tmp_path / "one.json")
    loaded = Calibration.from_json(tmp_path / "one.json")
    assert (loaded.compared.metric, loaded.compared.mode, loaded.compared.sources) == ("relative_l2", "area", {64: 4})
    assert loaded.table() == recorded().table() and loaded.table(20.0) == pytest.approx(recorded().table(20.0))
    loaded.to_json(tmp_path / "two.json")
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    rows = json.loads((tmp_path / "two.json").read_text())["rows"]
    assert [row["count"] for row in rows] == [3, 1]
    loaded.observe([(("mlp", 0, 64), torch.tensor([0.5]))])  # seen again: what was loaded gives way
    assert loaded.table()["mlp", 0, 64] == 0.5 and len(loaded) == 2


def test_what_a_run_would_compare():
    assert as_a_run_would(None, SIDES) == Compared("cosine", "bilinear", {4: 1, 16: 4, 64: 16})
    settings = HARTCacheConfig([16, 64], [1], interpolation_mode="nearest")
    assert as_a_run_would(settings, SIDES) == Compared("cosine", "nearest", {4: 1, 16: 1, 64: 1})
    nothing_before = HARTCacheConfig([4, 64], [4])
    assert as_a_run_would(nothing_before, SIDES).sources == {4: 1, 16: 4, 64: 4}


@pytest.mark.parametrize(
    "changes",
    [{"threshold": 0.0}, {"enable_mlp_cache": False, "layers": [0]}, {"unselected": "nothing"}, {"cache_stages": [64]}],
)
def test_a_table_need_not_hold_what_is_not_asked(changes):
    calibration = Calibration()
    calibration.observe([(("attn", 0, 64), torch.tensor([0.5]))])
    check_table(calibration, HARTCacheConfig(**{"skip_stages": [64], "cache_stages": [16]} | changes), SIDES, 2)
