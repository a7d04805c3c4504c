"""The state of one model's cache: settings, table, thresholds, statistics, record."""

import copy

import pytest

from hart.modules.cache.branch_cache import NoCache
from hart.modules.cache.config import HARTCacheConfig
from hart.modules.cache.counting import CountingCache
from hart.modules.cache.recording import RecordingCache
from hart.modules.cache.stage_cache import StageCache
from hart.modules.cache.stage_caching import StageCaching
from tests.modules.cache.toys import ToyBlock

SIDES = (1, 2, 4, 8)
BLOCKS = [ToyBlock(), ToyBlock()]
LAST = {"skip_stages": [64], "cache_stages": [16], "threshold": 0.5}


@pytest.fixture
def caching() -> StageCaching:
    return StageCaching(SIDES, depth=2)


def kind_of(caching: StageCaching) -> type:
    return type(caching.new_cache(BLOCKS))


def test_what_a_run_gets(caching):
    assert kind_of(caching) is NoCache
    assert kind_of(StageCaching(SIDES, depth=2, counting=True)) is CountingCache
    caching.set_config(HARTCacheConfig())  # changes nothing
    assert kind_of(caching) is NoCache
    caching.set_config(HARTCacheConfig(**LAST))
    assert kind_of(caching) is StageCache
    caching.recording = True
    assert kind_of(caching) is RecordingCache
    caching.recording = False
    caching.disable()
    assert kind_of(caching) is NoCache
    caching.enable()
    assert kind_of(caching) is StageCache


def test_settings_go_in_and_come_out_as_copies(caching):
    settings = HARTCacheConfig(**LAST)
    caching.set_config(settings)
    settings.skip_stages.clear()
    caching.config.skip_stages.append(7777)
    assert caching.config == HARTCacheConfig(**LAST)


def test_the_table_goes_with_its_settings(caching, monkeypatch):
    monkeypatch.setattr(StageCaching, "_read_table", lambda self, config: {("attn", 0, 64): 0.9})
    caching.set_config(HARTCacheConfig(**LAST))
    assert caching.table == {("attn", 0, 64): 0.9}
    caching.set_config(None)
    assert caching.table == {}


def test_refused_settings_leave_the_old_ones(caching):
    caching.set_config(HARTCacheConfig(**LAST))
    for changes in ({"skip_stages": [63]}, {"estimator": "calibrated"}):
        with pytest.raises(ValueError, match=r"stage 63|sim_path is None"):
            caching.set_config(HARTCacheConfig(**(LAST | changes)))
        assert caching.is_enabled and caching.config == HARTCacheConfig(**LAST)


def test_two_states_share_nothing(caching):
    caching.set_config(HARTCacheConfig(**LAST, adaptive_threshold=True))
    other = copy.deepcopy(caching)
    other.set_config(None)
    other.statistics.hit("attn", 64)
    other.recording = True
    assert caching.is_enabled and not caching.recording
    assert caching.get_statistics()["hits"] == 0 and other.get_statistics()["hits"] == 1


def test_a_new_record_begins_when_recording_is_switched_on(caching):
    caching.recording = True
    first = caching.recorded
    caching.recording = True
    assert caching.recorded is first
    caching.recording = False
    caching.recording = True
    assert caching.recorded is not first


def test_own_upsampling_is_given_the_mode_of_the_run(caching):
    caching.set_config(HARTCacheConfig(**LAST, interpolation_mode="nearest"))
    cache = caching.new_cache(BLOCKS, upsampling=lambda map_RChw, mode, side: (mode, side))
    caching.set_config(HARTCacheConfig(**LAST, interpolation_mode="area"))
    assert isinstance(cache, StageCache) and cache.resize(None, 8) == ("nearest", 8)
    assert not cache.plan.linear
