"""`calibrate_thresholds` and `benchmark_performance`."""

import json

import pytest
import torch

from hart.modules.cache.calibration import Calibration
from hart.modules.cache.statistics import percentile
from hart.modules.cache_benchmark import timed
from hart.modules.cache_report import BenchmarkReport
from hart.modules.enhanced_hart import EnhancedHARTForT2I
from hart.utils.memory import PeakMemory
from tests.modules.models.transformer.conftest import text
from tests.modules.test_enhanced_hart import config, paint

QUIET = {"progress": False}


def test_calibration_by_hand(enhanced, tmp_path):
    enhanced.set_cache_config(config())
    found = enhanced.calibrate_thresholds(3, sim_path=tmp_path / "table.json", **QUIET)
    enhanced.disable_cache()
    by_hand = EnhancedHARTForT2I.from_hart(enhanced)
    by_hand.calibration = True
    by_hand.autoregressive_infer_cfg(3, None, [0, 1, 2], cfg=4.5)
    for branch in ("attn", "mlp"):
        values = by_hand.recorded_similarities.values(branch, [169, 256])
        assert len(values) == found[branch]["count"] == 3 * 3 * 2
        assert found[f"{branch}_threshold"] == pytest.approx(percentile(values, 20), abs=1e-4)
        assert found[branch]["min"] <= found[f"{branch}_threshold"] + 1e-4 <= found[branch]["max"] + 2e-4
    table = Calibration.from_json(tmp_path / "table.json").table()
    assert len(table) == 2 * 3 * 9 and found["sim_path"] == str(tmp_path / "table.json")
    assert json.dumps(found)


def test_calibration_is_deterministic_and_leaves_everything_as_it_was(enhanced):
    enhanced.set_cache_config(config(adaptive_threshold=True))
    paint(enhanced)
    before = enhanced.get_cache_statistics()
    first = enhanced.calibrate_thresholds(2, **QUIET)
    assert enhanced.calibrate_thresholds(2, **QUIET) == first != enhanced.calibrate_thresholds(2, seed=5, **QUIET)
    assert enhanced.get_cache_statistics() == before
    assert enhanced.is_cache_enabled and not enhanced.calibration and enhanced.sim_path is None


def test_a_ready_config(enhanced, tmp_path):
    found = enhanced.calibrate_thresholds(1, sim_path=tmp_path / "table.json", return_config=True, **QUIET)
    ready = found["config"]
    assert ready.attn_threshold == found["attn_threshold"] and ready.sim_path == str(tmp_path / "table.json")
    enhanced.set_cache_config(ready)
    paint(enhanced)
    assert 0 < enhanced.get_cache_statistics()["cache_hit_rate"] <= 1


def test_features_and_prompts(tiny, checkpoint_root, capsys):
    found = tiny.calibrate_thresholds(5, **text(2), batch_size=2)
    assert found["painted"] == "features given" and found["skip_stages"] == [16, 64]
    assert "5/5" in capsys.readouterr().err
    model = EnhancedHARTForT2I.from_pretrained(checkpoint_root)
    found = model.calibrate_thresholds(3, prompts=["a cat", "a dog"], **QUIET)
    assert found["painted"] == "2 prompts"
    report = model.benchmark_performance(1, prompts=["a cat"], warmup=0, **QUIET)
    assert report["no_cache"]["parts"]["text"]["median"] > 1e-4


@pytest.mark.parametrize(
    "given, sentence",
    [
        ({"num_samples": 0}, r"num_samples is 0; allowed is a whole number from 1"),
        ({"num_samples": 1, "batch_size": True}, r"batch_size is True"),
        ({"num_samples": 1, "prompts": []}, r"prompts is \[\]; allowed is a list of at least one text"),
        ({"num_samples": 1, "prompts": "a cat"}, r"prompts is 'a cat'"),
        ({"num_samples": 1, "prompts": ["a"], "label_B": torch.zeros(1, 5, 12)}, r"both given"),
    ],
)
@pytest.mark.parametrize("method", ["calibrate_thresholds", "benchmark_performance"])
def test_bad_arguments(tiny, method, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        getattr(tiny, method)(**given, **QUIET)


def test_prompts_need_a_text_model(tiny):
    with pytest.raises(FileNotFoundError, match="no text model beside the checkpoint"):
        tiny.calibrate_thresholds(1, prompts=["a cat"], **QUIET)


def test_benchmark(enhanced, tmp_path):
    enhanced.set_cache_config(config())
    enhanced.reset_cache_statistics()
    report = enhanced.benchmark_performance(3, 2, json_path=tmp_path / "benchmark.json", **QUIET)
    assert report["run_tag"] == "hart-skip169+256_src100+169_t0.00_bilinear"
    side = report["benchmark"]
    assert side["cache_hit_rate"] == 1.0 and report["no_cache"]["cache_hit_rate"] == 0.0
    assert side["throughput_img_per_sec"] * side["mean_time"] == pytest.approx(1)
    assert set(side["parts"]) == {"text", "decoder", "diffusion_head", "transformer"}
    assert len(side["stages"]) == 10 and side["stages"]["256"]["q1"] <= side["stages"]["256"]["q3"]
    parts = side["parts"]
    assert parts["diffusion_head"]["median"] < side["stages"]["256"]["median"]
    assert parts["transformer"]["median"] < report["no_cache"]["parts"]["transformer"]["median"]
    assert report["speed_up"] > 0 and report["ceiling"] > 1
    assert report["statistics"]["hits"] == 2 * 2 * 12  # two batches of two pictures, warm-up not counted
    assert 0.5 < report["flops"]["saved_ratio"] < 1
    assert report["memory"]["peak_bytes"] > 0 and report["memory"]["cache_peak_bytes"] > 0
    assert report["measured"]["num_batches"] == 2
    assert BenchmarkReport.from_json(tmp_path / "benchmark.json").model_dump() == report
    # Nothing of it stays on the model.
    assert enhanced.get_cache_statistics()["hits"] == 0
    assert "sample" not in enhanced.diffloss.__dict__ and "run_blocks" not in enhanced.__dict__


def test_benchmark_without_a_cache(tiny):
    report = tiny.benchmark_performance(1, warmup=0, **QUIET)
    assert report["run_tag"] == "hart-nocache" and report["config"] is None
    assert report["benchmark"]["cache_hit_rate"] == 0.0 and report["flops"]["saved"] == 0


def test_wrong_files_are_refused_in_one_sentence(tmp_path):
    file = tmp_path / "wrong.json"
    row = {"branch": "attn", "layer": 0, "stage": 256, "mean": 0.5, "low": 0.4, "count": 3}
    table = {"format": "hart-similarity-table", "version": 1, "rows": [row]}
    file.write_text(json.dumps(table))
    assert Calibration.from_json(file).table() == {("attn", 0, 256): 0.5}
    for wrong in (
        "{", "[]", json.dumps(table | {"rows": []}), json.dumps(table | {"format": "x"}),
        json.dumps(table | {"rows": [row | {"branch": "both"}]}), json.dumps(table | {"rows": [row | {"mean": "x"}]}),
    ):  # fmt: skip
        file.write_text(wrong)
        with pytest.raises(
            ValueError, match=r"is not a similarity table \(.*write one with calibrate_thresholds"
        ) as told:
            Calibration.from_json(file)
        assert "\n" not in str(told.value)
        with pytest.raises(ValueError, match=r"is not a benchmark report \(.*write one with"):
            BenchmarkReport.from_json(file)


def test_a_timed_method_is_itself_again_after_an_error():
    class Thing:
        def work(self) -> int:
            return 1

    thing = Thing()
    with pytest.raises(RuntimeError), timed(thing, "work", torch.device("cpu")) as seconds:
        assert thing.work() == 1 and len(seconds) == 1
        raise RuntimeError
    assert thing.__dict__ == {}


def test_peak_of_memory():
    memory = PeakMemory(torch.device("cpu"))
    if memory.method != "VmHWM":
        pytest.skip("this platform cannot forget a peak")
    memory.restart()
    before = memory.peak_bytes()
    block = torch.ones(64 * 2**20, dtype=torch.uint8)
    assert memory.peak_bytes() >= before + 60 * 2**20
    del block
    memory.restart()
    assert memory.peak_bytes() < before + 30 * 2**20
