"""Peaks: what becomes of a process that fails, and of figures that are missing."""

from hart.benchmark.memory import UNMEASURED, measure_memory, memory_of
from hart.benchmark.settings import choose_settings
from tests.benchmark.conftest import setting


def test_a_process_that_fails_is_left_out_with_a_warning(results_of, tmp_path, caplog):
    work = results_of(setting("no-cache", 1.0)).work
    settings = choose_settings((1, 2, 3), 1, ["no-cache"])
    assert measure_memory(settings, work, tmp_path / "missing", None, tmp_path, progress=False) == {}
    assert "memory of setting 'no-cache' was not measured: FileNotFoundError: model path" in caplog.text


def test_ratios():
    plain = {"method": "VmHWM", "peak_bytes": 100, "cache_peak_bytes": 0}
    found = memory_of({"method": "VmHWM", "peak_bytes": 120, "cache_peak_bytes": 30}, plain, 20)
    assert (found.over_no_cache, found.cache_peak_bytes) == (1.2, 30)
    assert memory_of(plain, None, 0).over_no_cache is None
    missing = memory_of(None, plain, 20)
    assert (missing.method, missing.over_no_cache, missing.cache_peak_bytes) == (UNMEASURED, None, 20)
