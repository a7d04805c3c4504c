"""Peaks: what becomes of a process that fails, and of figures that are missing."""

from hart.benchmark.run.memory import UNMEASURED, measure_memory, memory_of
from hart.benchmark.run.peak import _paint
from hart.benchmark.settings.choose import choose_settings
from hart.modules.cache_config import HARTCacheConfig
from tests.benchmark.conftest import setting


def test_a_process_that_fails_is_left_out_with_a_warning(results_of, tmp_path, caplog):
    work = results_of(setting("no-cache", 1.0)).work
    settings = choose_settings((1, 2, 3), 1, ["no-cache"])
    assert measure_memory(settings, work, tmp_path / "missing", None, tmp_path, progress=False) == {}
    assert "memory of setting 'no-cache' was not measured: FileNotFoundError: model path" in caplog.text


def test_the_process_paints_a_batch_and_may_compile(checkpoint_root, monkeypatch):
    compiled = []
    monkeypatch.setattr("hart.benchmark.run.batches.compile_branches", lambda model: compiled.append(model))
    request = {
        "checkpoint": str(checkpoint_root), "text_model_path": None, "device": "cpu", "dtype": "float32", "threads": 1,
        "prompts": ["a cat", "a dog"], "seed": 0, "guidance_scale": 4.5, "compiled": True,
        "config": HARTCacheConfig(drop_stages=[256]).to_dict(),
    }  # fmt: skip
    found = _paint(request)
    assert len(compiled) == 1 and found["peak_bytes"] > 0
    everything = _paint(request | {"compiled": False, "config": HARTCacheConfig.from_preset("no-cache").to_dict()})
    assert set(found["operations"]) == set(everything["operations"]) >= {"aten.mm", "aten.convolution"}
    assert 0 < sum(found["operations"].values()) < sum(everything["operations"].values())


def test_ratios():
    plain = {"method": "VmHWM", "peak_bytes": 100, "cache_peak_bytes": 0}
    found = memory_of({"method": "VmHWM", "peak_bytes": 120, "cache_peak_bytes": 30}, plain, 20)
    assert (found.over_no_cache, found.cache_peak_bytes) == (1.2, 30)
    assert memory_of(plain, None, 0).over_no_cache is None
    missing = memory_of(None, plain, 20)
    assert (missing.method, missing.over_no_cache, missing.cache_peak_bytes) == (UNMEASURED, None, 20)
