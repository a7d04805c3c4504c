"""`calibrate_thresholds` and `benchmark_performance`."""

import json

import pytest
import torch

from hart.modules.cache.similarity import similarity
from hart.modules.cache.similarity_table import Calibration
from hart.modules.cache.upsample import upsample_tokens
from hart.modules.cache_config import HARTCacheConfig
from hart.modules.enhanced_hart import EnhancedHARTForT2I
from hart.tuning.speed_report import BenchmarkReport
from hart.utils.intervals import percentile
from hart.utils.memory import PeakMemory
from hart.utils.timing import timed
from tests.modules.models.transformer.conftest import text
from tests.modules.test_enhanced_hart import config, paint

QUIET = {"progress": False}


def test_calibration_by_hand(enhanced, tmp_path):
    enhanced.set_cache_config(config(threshold=0.5, interpolation_mode="nearest", similarity_metric="centred_cosine"))
    found = enhanced.calibrate_thresholds(3, sim_path=tmp_path / "table.json", **QUIET)
    by_hand = EnhancedHARTForT2I.from_hart(enhanced, enhanced.cache_config)
    by_hand.calibration = True
    by_hand.autoregressive_infer_cfg(3, None, [0, 1, 2], cfg=4.5)
    table = Calibration.from_json(tmp_path / "table.json")
    assert len(table) == 2 * 3 * 9 and found["sim_path"] == str(tmp_path / "table.json")
    for branch in ("attn", "mlp"):
        values = by_hand.recorded_similarities.values(branch, [169, 256])
        assert len(values) == found[branch]["count"] == 3 * 3 * 2
        means = table.values(branch, [169, 256])
        assert len(means) == 3 * 2
        assert percentile(means, 20) - 1e-4 <= found[f"{branch}_threshold"] <= percentile(means, 20)
        assert values[0] <= means[0] and means[-1] <= values[-1]
    assert found["estimator"] == "calibrated" and json.dumps(found)


def test_it_compares_what_a_run_would_reuse(tiny):
    """Stage 64 with the upsampled stage 4, by hand on outputs that hooks saw."""
    outputs: dict[int, torch.Tensor] = {}
    hook = tiny.blocks[1].ffn.register_forward_hook(lambda _, given, out: outputs.__setitem__(out.shape[1], out))
    for cache_stages, source in (([4], 4), ([4, 16], 16)):
        tiny.set_cache_config(
            HARTCacheConfig([64], cache_stages, interpolation_mode="bicubic", similarity_metric="relative_l2")
        )
        tiny.calibration = True
        paint(tiny)
        tiny.calibration = False
        side = round(source**0.5)
        grown = upsample_tokens(outputs[source], side, 8, "bicubic")
        expected = similarity(grown, outputs[64], "relative_l2").mean()
        assert tiny.recorded_similarities.table()["mlp", 1, 64] == pytest.approx(float(expected), abs=1e-5)
        assert tiny.recorded_similarities.compared.sources == {4: 1, 16: 4, 64: source}
    hook.remove()


def test_recommended_thresholds_let_four_of_five_reuse(tiny):
    tiny.set_cache_config(HARTCacheConfig(skip_stages=[64], cache_stages=[16], threshold=0.5))
    found = tiny.calibrate_thresholds(40, return_config=True, **QUIET)
    assert found["estimator"] == "online"
    tiny.set_cache_config(found["config"])
    for seed in range(40, 80):
        paint(tiny, seed, cfg=4.5)
    assert 0.6 <= tiny.get_cache_statistics()["cache_hit_rate"] <= 0.95
    tiny.reset_cache_statistics()
    for seed in range(40):  # the pictures that were measured, to the picture
        paint(tiny, seed, cfg=4.5)
    assert tiny.get_cache_statistics()["cache_hit_rate"] == pytest.approx(0.8, abs=0.03)


def test_a_record_begins_anew_and_is_saved_once_a_call(tiny, tmp_path, monkeypatch):
    saved: list[int] = []
    save = Calibration.to_json
    monkeypatch.setattr(Calibration, "to_json", lambda self, path: saved.append(1) or save(self, path))
    tiny.sim_path = tmp_path / "table.json"
    for _ in range(2):
        tiny.calibration = True
        paint(tiny, batch=3)
        assert len(tiny.recorded_similarities.values("attn", [64])) == 2 * 3
        tiny.calibration = False
    assert len(saved) == 2
    tiny.reset_cache_statistics()
    assert len(tiny.recorded_similarities) == 0
    tiny.calibration = True
    paint(tiny)
    tiny.set_cache_config(HARTCacheConfig([64], [4]))
    paint(tiny)  # compared with another stage: not to be mixed
    assert len(tiny.recorded_similarities.values("attn", [64])) == 2
    assert tiny.recorded_similarities.compared.sources[64] == 4


def test_a_table_says_how_it_was_measured_and_for_what(tiny, tmp_path):
    file = str(tmp_path / "table.json")
    with pytest.raises(ValueError, match="estimator is 'calibrated' and sim_path is None; allowed with it is"):
        tiny.set_cache_config(HARTCacheConfig([64], [16], estimator="calibrated"))
    tiny.set_cache_config(HARTCacheConfig([64], [16]))
    tiny.calibrate_thresholds(1, sim_path=file, **QUIET)
    tiny.set_cache_config(HARTCacheConfig([64], [16], sim_path=file))
    tiny.set_cache_config(HARTCacheConfig([64], [4], sim_path=file, estimator="online"))
    for fields, sentence in (
        ({"cache_stages": [4]}, r"compared stage 64 with stage 16; allowed is stage 4,"),
        ({"similarity_metric": "relative_l2"}, r"measured with similarity_metric 'cosine'; allowed .* 'relative_l2'"),
        ({"interpolation_mode": "area"}, r"measured with interpolation_mode 'bilinear'; allowed .* 'area'"),
    ):
        with pytest.raises(ValueError, match=sentence) as told:
            tiny.set_cache_config(
                HARTCacheConfig(**{"skip_stages": [64], "cache_stages": [16], "sim_path": file} | fields)
            )
        assert str(told.value).startswith("sim_path is ") and "\n" not in str(told.value)
    content = json.loads((tmp_path / "table.json").read_text())
    rows = content["rows"]
    old = {"format": content["format"], "version": 1, "rows": [
        {name: value for name, value in row.items() if name != "source"} for row in rows
    ]}  # fmt: skip
    for wrong, sentence in (
        (None, None),
        (
            old["rows"] + [old["rows"][0] | {"layer": 2}],
            "names layer 2; allowed are tables of this model's layers 0 to 1",
        ),
        (old["rows"] + [old["rows"][0] | {"stage": 25}], "names stage 25; allowed are this model's 1, 4, 16, 64"),
        ([row for row in old["rows"] if row["layer"] == 0], "has no similarity of attn in layer 1 at stage 64"),
    ):
        (tmp_path / "old.json").write_text(json.dumps(old | ({} if wrong is None else {"rows": wrong})))
        settings = HARTCacheConfig([64], [4], sim_path=str(tmp_path / "old.json"))
        if sentence is None:  # an older table loads, whatever it was compared with
            tiny.set_cache_config(settings)
            continue
        with pytest.raises(ValueError, match=sentence):
            tiny.set_cache_config(settings)


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
    paint(enhanced, seed=0, cfg=4.5)  # as calibration painted
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
    flops = report["flops"]
    assert 0.5 < flops["saved_ratio"] < 1
    assert flops["no_cache_computed"] == flops["computed"] + flops["saved"]
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
    assert report["flops"]["computed"] == report["flops"]["no_cache_computed"] > 0


def test_wrong_files_are_refused_in_one_sentence(tmp_path):
    file = tmp_path / "wrong.json"
    row = {"branch": "attn", "layer": 0, "stage": 256, "mean": 0.5, "low": 0.4, "count": 3}
    table = {"format": "hart-similarity-table", "version": 1, "rows": [row]}
    file.write_text(json.dumps(table))
    assert Calibration.from_json(file).table() == {("attn", 0, 256): 0.5}
    assert Calibration.from_json(file).table(20.0) == {("attn", 0, 256): 0.4}
    Calibration.from_json(file).to_json(tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text())["rows"] == [row | {"source": None}]
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
