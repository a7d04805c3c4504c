"""The configuration: fields, checks, presets, files and words."""

import copy
import dataclasses
import json
import os
import string
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hart.modules.cache import presets
from hart.modules.cache.config import HARTCacheConfig
from hart.modules.cache.config_checks import DEFAULT_STAGES, NOT_WITH_NOTHING, RULES
from hart.modules.cache.registries import SCHEDULES, known_names

TEN = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
FOURTEEN = (1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 27, 36, 48, 64)
NAMES = [
    "no-cache",
    "conservative-cache",
    "original-cache",
    "aggressive-cache",
    "ultra-fast",
    "high-quality",
    "memory-efficient",
    "production-balanced",
]
SKIP, CACHE = [169, 256], [100, 169]


def usable(**fields):
    return HARTCacheConfig(**{"skip_stages": SKIP, "cache_stages": CACHE, **fields})


# -- fields --------------------------------------------------------------------------------------------------------


def test_the_nine_fields_keep_names_order_types_and_defaults():
    nine = dataclasses.fields(HARTCacheConfig)[:9]
    assert [(f.name, f.type) for f in nine] == [
        ("skip_stages", list[int]),
        ("cache_stages", list[int]),
        ("enable_attn_cache", bool),
        ("enable_mlp_cache", bool),
        ("threshold", float),
        ("adaptive_threshold", bool),
        ("interpolation_mode", str),
        ("calibration_samples", int),
        ("similarity_window", int),
    ]
    config = HARTCacheConfig()
    assert [getattr(config, f.name) for f in nine] == [[], [], True, True, 0.7, False, "bilinear", 100, 20]
    assert HARTCacheConfig(SKIP, CACHE, True, False, 0.6, True, "nearest", 5, 7).similarity_window == 7


def test_every_further_field_is_keyword_only_and_every_field_has_a_rule():
    fields = dataclasses.fields(HARTCacheConfig)
    assert all(f.kw_only for f in fields[9:])
    assert [f.name for f in fields] == list(RULES)
    with pytest.raises(TypeError):
        HARTCacheConfig(SKIP, CACHE, True, True, 0.7, False, "bilinear", 100, 20, {256: 0.5})


def test_lists_are_copied():
    skip = [256]
    config = HARTCacheConfig(skip, (169,))
    skip.append(64)
    assert config.skip_stages == [256]
    assert config.cache_stages == [169]
    assert HARTCacheConfig().skip_stages is not HARTCacheConfig().skip_stages


def test_it_needs_the_standard_library_alone():
    code = (
        "import sys; from hart.modules.cache.config import HARTCacheConfig as C;"
        "C.from_preset('original-cache', (1, 2, 3, 4)).validate([1, 4, 9, 16]);"
        "print([m for m in ('torch', 'transformers', 'numpy', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
    )
    assert done.stdout.strip() == "[]"


# -- checks --------------------------------------------------------------------------------------------------------

DEFAULTS_THAT_FAIL = [
    ({"skip_stages": 256}, "skip_stages is 256; allowed is a list of token counts"),
    ({"skip_stages": [256, 256]}, "skip_stages is [256, 256]; allowed is a list of token counts"),
    ({"skip_stages": [256.0]}, "skip_stages is [256.0]; allowed is a list of token counts"),
    ({"skip_stages": [True]}, "skip_stages is [True]; allowed is a list of token counts"),
    ({"cache_stages": ["169"]}, "cache_stages is ['169']; allowed is a list of token counts"),
    ({"cache_stages": None}, "cache_stages is None; allowed is a list of token counts"),
    ({"enable_attn_cache": 1}, "enable_attn_cache is 1; allowed is True or False."),
    ({"enable_mlp_cache": "yes"}, "enable_mlp_cache is 'yes'; allowed is True or False."),
    ({"threshold": 1.5}, "threshold is 1.5; allowed is a number from 0 to 1."),
    ({"threshold": -0.1}, "threshold is -0.1; allowed is a number from 0 to 1."),
    ({"threshold": float("nan")}, "threshold is nan; allowed is a number from 0 to 1."),
    ({"threshold": True}, "threshold is True; allowed is a number from 0 to 1."),
    ({"threshold": "0.7"}, "threshold is '0.7'; allowed is a number from 0 to 1."),
    ({"adaptive_threshold": None}, "adaptive_threshold is None; allowed is True or False."),
    ({"interpolation_mode": 3}, "interpolation_mode is 3; allowed is a name."),
    (
        {"interpolation_mode": "bilinaer"},
        "unknown interpolation_mode 'bilinaer', nearest to it is 'bilinear'; known are",
    ),
    ({"calibration_samples": 0}, "calibration_samples is 0; allowed is a whole number from 1."),
    ({"calibration_samples": True}, "calibration_samples is True; allowed is a whole number from 1."),
    ({"similarity_window": 2.5}, "similarity_window is 2.5; allowed is a whole number from 1."),
    ({"refresh_ratio": {256: 1.5}}, "refresh_ratio is {256: 1.5}; allowed is a dict from stage"),
    ({"refresh_ratio": [0.5]}, "refresh_ratio is [0.5]; allowed is a dict from stage"),
    ({"refresh_ratio": {"last": 0.5}}, "refresh_ratio is {'last': 0.5}; allowed is a dict from stage"),
    ({"refresh_ratio": {100: 0.5}}, "refresh_ratio names stage 100; allowed are the skip_stages: 169, 256."),
    ({"refresh_ratio": {99: 0.5}}, "refresh_ratio names stage 99; allowed are 1, 4, 9,"),
    ({"unselected": "zero"}, "unselected is 'zero'; allowed is 'reuse' or 'nothing'."),
    ({"token_selector": "fastvr"}, "unknown token_selector 'fastvr', nearest to it is 'fastvar'; known are"),
    ({"select_per_row": "no"}, "select_per_row is 'no'; allowed is True or False."),
    ({"reuse_codes": None}, "reuse_codes is None; allowed is 'sampled' or 'soft'."),
    ({"drop_stages": [256]}, "drop_stages names stage 256; allowed are stages outside skip_stages"),
    ({"drop_stages": [100]}, "drop_stages names stage 100; allowed are stages outside cache_stages"),
    ({"drop_stages": [1]}, "drop_stages names stage 1; allowed are later stages only"),
    ({"unguided_from": 0}, "unguided_from is 0; allowed is None or a whole number from 1."),
    ({"unguided_from": 1}, "unguided_from names stage 1; allowed are later stages only"),
    ({"unguided_from": 99}, "unguided_from names stage 99; allowed are 1, 4, 9,"),
    ({"attn_kv": "keep"}, "attn_kv is 'keep'; allowed is 'append' or 'drop'."),
    ({"estimator": "offline"}, "estimator is 'offline'; allowed is 'auto' or 'online' or 'calibrated'."),
    ({"similarity_metric": "cosin"}, "unknown similarity_metric 'cosin', nearest to it is 'cosine'; known are"),
    ({"sim_path": 3}, "sim_path is 3; allowed is None or a name."),
    ({"attn_threshold": 2}, "attn_threshold is 2; allowed is None or a number from 0 to 1."),
    ({"threshold_schedule": "x"}, "unknown threshold_schedule 'x'; known are 'constant', 'mlp_stricter', 'rising'."),
    ({"adaptive_range": -1}, "adaptive_range is -1; allowed is a number from 0 to 1."),
    ({"layers": [0, 0]}, "layers is [0, 0]; allowed is None or a list of layers"),
    ({"layers": [12]}, "layers names layer 12; allowed are 0 to 11."),
    ({"mlp_layers": [-1]}, "mlp_layers is [-1]; allowed is None or a list of layers"),
    ({"corrector_layers": -1}, "corrector_layers is -1; allowed is a whole number from 0."),
    ({"memory_budget_mb": float("inf")}, "memory_budget_mb is inf; allowed is None or a finite number from 0."),
    ({"eviction": "newest"}, "unknown eviction 'newest'"),
    ({"skip_stages": [256, 300]}, "skip_stages names stage 300; allowed are 1, 4, 9, 16, 25, 36, 64, 100, 169, 256."),
    ({"cache_stages": [2]}, "cache_stages names stage 2; allowed are 1, 4,"),
    ({"skip_stages": [1, 256]}, "skip_stages names stage 1; allowed are later stages only"),
    ({"cache_stages": []}, "cache_stages is []; allowed is a list with at least one stage before one of skip_stages"),
    ({"cache_stages": [256]}, "cache_stages is [256]; allowed is a list with at least one stage before one of"),
]


@pytest.mark.parametrize(("fields", "message"), DEFAULTS_THAT_FAIL, ids=lambda v: str(v)[:40])
def test_each_failure_is_one_sentence_with_field_value_and_what_is_allowed(fields, message):
    with pytest.raises(ValueError, match=r"allowed|known") as error:
        usable(**fields).validate(depth=12)
    text = str(error.value)
    assert text.startswith(message)
    assert text.endswith(".")
    assert "\n" not in text
    assert text.count(". ") == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"select_per_row": True}, "select_per_row is True; allowed with unselected 'nothing' is False, for guidance"),
        ({"select_per_branch": True}, "select_per_branch is True; allowed with unselected 'nothing' is False, for a"),
        ({"reuse_codes": "soft"}, "reuse_codes is 'soft'; allowed with unselected 'nothing' is 'sampled'"),
    ],
)
def test_what_is_without_effect_on_tokens_that_add_nothing_is_refused(fields, message):
    usable(**fields).validate(depth=12)
    HARTCacheConfig(unselected="nothing", **fields).validate(depth=12)  # nothing is skipped
    with pytest.raises(ValueError, match="allowed with") as error:
        usable(unselected="nothing", **fields).validate(depth=12)
    text = str(error.value)
    assert text.startswith(message) and text.endswith(".") and text.count(". ") == 0


def test_thresholds_are_let_be_where_tokens_add_nothing():
    usable(unselected="nothing", threshold=0.9, adaptive_threshold=True, mlp_threshold=0.5).validate()


def test_numbers_of_numpy_become_pythons_own(tmp_path):
    stages = np.array([169, 256])
    config = HARTCacheConfig(
        stages, range(100, 101), threshold=np.float64(0.5), first_layers=np.int64(1), refresh_ratio={np.int64(256): 0.5}
    )
    assert config == HARTCacheConfig([169, 256], [100], threshold=0.5, first_layers=1, refresh_ratio={256: 0.5})
    config.validate()
    config.to_json(tmp_path / "config.json")
    assert HARTCacheConfig.from_json(tmp_path / "config.json") == config
    assert HARTCacheConfig({256, 169}).skip_stages == [169, 256] and type(config.skip_stages[0]) is int
    sides = np.array([1, 2, 3, 4, 5, 6, 8, 10, 13, 16])
    assert HARTCacheConfig.from_preset("ultra-fast", patch_nums=sides) == HARTCacheConfig.from_preset("ultra-fast")


def test_a_table_is_found_beside_the_settings_that_name_it(tmp_path, monkeypatch):
    (tmp_path / "old").mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old" / "table.json").write_text("{}")
    usable(sim_path=str(tmp_path / "old" / "table.json")).to_json("old/config.json")
    assert json.loads((tmp_path / "old" / "config.json").read_text())["sim_path"] == "table.json"
    (tmp_path / "old").rename(tmp_path / "moved")
    loaded = HARTCacheConfig.from_json("moved/config.json")
    assert loaded.sim_path == str(tmp_path / "moved" / "table.json")
    monkeypatch.chdir(tmp_path / "moved")
    assert HARTCacheConfig.from_json("config.json") == loaded
    usable(sim_path="elsewhere.json").to_json("config.json")  # as an older version wrote it, from the working directory
    assert HARTCacheConfig.from_json("config.json").sim_path == "elsewhere.json"
    (tmp_path / "elsewhere.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert HARTCacheConfig.from_json("moved/config.json").sim_path == str(tmp_path / "elsewhere.json")


def test_settings_are_read_as_an_editor_shows_them(tmp_path):
    text = json.dumps(usable(sim_path="ü.json").to_dict(), ensure_ascii=False, indent=1)
    for content in (b"\xef\xbb\xbf" + text.encode().replace(b"\n", b"\r\n"), text.encode("utf-16")):
        (tmp_path / "config.json").write_bytes(content)
        assert HARTCacheConfig.from_json(tmp_path / "config.json") == usable(sim_path="ü.json")


def test_settings_that_pass():
    HARTCacheConfig().validate()
    usable().validate()
    usable(threshold=0).validate()
    usable(threshold=1).validate()
    usable(cache_stages=[1]).validate()
    usable(skip_stages=[4, 256], cache_stages=[9]).validate()
    usable(cache_stages=[], unselected="nothing").validate()
    usable(cache_stages=[], enable_attn_cache=False, enable_mlp_cache=False).validate()
    usable(skip_stages=[], drop_stages=[256]).validate()
    usable(refresh_ratio={169: 0, 256: 1}).validate()


def test_stages_are_those_of_the_model():
    config = HARTCacheConfig(skip_stages=[4096], cache_stages=[2304])
    config.validate([side * side for side in FOURTEEN])
    with pytest.raises(ValueError, match="skip_stages names stage 4096"):
        config.validate()


def test_names_registered_later_and_names_given_are_known():
    config = usable(threshold_schedule="steps")
    with pytest.raises(ValueError, match="unknown threshold_schedule 'steps'"):
        config.validate()
    config.validate(registries={"threshold_schedule": ["steps"]})
    SCHEDULES.register("steps", lambda stage, layer, branch, base: base)
    try:
        config.validate()
    finally:
        SCHEDULES.remove("steps")


def test_which_layers_may_reuse():
    def layers(branch, **fields):
        return [layer for layer in range(6) if usable(**fields).may_reuse(branch, layer, depth=6)]

    assert layers("attn") == layers("mlp") == [0, 1, 2, 3, 4, 5]
    assert layers("attn", first_layers=1, corrector_layers=2) == [1, 2, 3]
    assert layers("mlp", layers=[0, 3], corrector_layers=1) == [0, 3]
    assert layers("mlp", layers=[0, 3], mlp_layers=[1, 5], corrector_layers=1) == [1]
    assert layers("attn", layers=[0, 3], mlp_layers=[1]) == [0, 3]
    assert layers("attn", enable_attn_cache=False) == []


def test_thresholds_per_branch():
    config = usable(threshold=0.6, mlp_threshold=0.9)
    assert config.base_threshold("attn") == 0.6
    assert config.base_threshold("mlp") == 0.9


def test_what_changes_nothing():
    assert HARTCacheConfig().changes_nothing
    assert HARTCacheConfig.from_preset("no-cache").changes_nothing
    assert HARTCacheConfig(cache_stages=[256]).changes_nothing
    assert not usable().changes_nothing
    assert not HARTCacheConfig(drop_stages=[256]).changes_nothing


# -- presets -------------------------------------------------------------------------------------------------------

DESIGN_TABLE = {
    "no-cache": ([], [], 0.7),
    "conservative-cache": ([256], [169], 0.8),
    "original-cache": ([169, 256], [100, 169], 0.7),
    "aggressive-cache": ([64, 100, 169, 256], [36, 64, 100, 169], 0.6),
    "ultra-fast": ([36, 64, 100, 169, 256], [25, 36, 64, 100, 169], 0.5),
    "high-quality": ([256], [169], 0.9),
    "memory-efficient": ([169, 256], [169], 0.8),
    "production-balanced": ([169, 256], [100, 169], 0.7),
}


@pytest.mark.parametrize("name", NAMES)
def test_presets_are_those_of_the_design(name):
    config = HARTCacheConfig.from_preset(name)
    config.validate()
    assert (config.skip_stages, config.cache_stages, config.threshold) == DESIGN_TABLE[name]
    assert config.adaptive_threshold == (name in ("ultra-fast", "production-balanced"))
    assert config.interpolation_mode == ("bicubic" if name == "high-quality" else "bilinear")
    assert (config.enable_attn_cache, config.enable_mlp_cache) == {
        "no-cache": (False, False),
        "memory-efficient": (True, False),
    }.get(name, (True, True))
    assert HARTCacheConfig.from_preset(name, TEN) == config


def test_every_preset_is_named_and_explained():
    assert sorted(HARTCacheConfig.preset_names()) == sorted(NAMES)
    assert presets.read_presets()["stages"] == list(DEFAULT_STAGES)
    assert all(preset["why"] for preset in presets.read_presets()["presets"].values())


@pytest.mark.parametrize("name", NAMES)
def test_on_fourteen_stages_presets_move_by_rank_from_the_last(name):
    stages = [side * side for side in FOURTEEN]
    config = HARTCacheConfig.from_preset(name, FOURTEEN)
    config.validate(stages)
    base = HARTCacheConfig.from_preset(name)
    for field in ("skip_stages", "cache_stages"):
        ranks = [DEFAULT_STAGES.index(stage) - 10 for stage in getattr(base, field)]
        assert [stages[rank] for rank in ranks] == getattr(config, field)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("no-cache", "ultra-fast")])
def test_on_fourteen_stages_enough_tokens_are_computed(name):
    """What is known to be safe: half of the stage before the last and a quarter of the last, nothing earlier."""
    config = HARTCacheConfig.from_preset(name, FOURTEEN)
    assert sorted(config.refresh_ratio) == sorted(config.skip_stages)
    for stage, ratio in config.refresh_ratio.items():
        assert ratio >= {4096: 0.25, 2304: 0.5}.get(stage, 1.0)
    assert config.unguided_from is None and not config.drop_stages


def test_ultra_fast_is_outside_what_is_known_to_be_safe():
    config = HARTCacheConfig.from_preset("ultra-fast", FOURTEEN)
    assert config.refresh_ratio[4096] == 0 and config.unguided_from == 729


def test_a_short_pyramid_leaves_out_the_ranks_it_lacks():
    config = HARTCacheConfig.from_preset("ultra-fast", (1, 2, 4))
    assert config.skip_stages == [4, 16]  # never the first
    assert config.cache_stages == [1, 4]
    config.validate([1, 4, 16])


def test_a_pyramid_too_short_is_an_error():
    with pytest.raises(ValueError, match=r"'original-cache' leaves nothing to reuse on patch_nums \(1,\)"):
        HARTCacheConfig.from_preset("original-cache", (1,))
    assert HARTCacheConfig.from_preset("no-cache", (1,)).changes_nothing


@pytest.mark.parametrize(
    "fields",
    [
        {"skip_stages": [256], "unselected": "nothing", "refresh_ratio": {"256": 0.5}},
        {"drop_stages": [169]},
        {"drop_stages": [169], "refresh_ratio": {"256": 0.5}},
    ],
)
def test_a_preset_that_reuses_nothing_needs_no_source(fields, monkeypatch):
    file = {"stages": list(DEFAULT_STAGES), "presets": {"mine": {"why": "", "config": fields}}}
    monkeypatch.setattr(presets, "read_presets", lambda: file)
    config = HARTCacheConfig.from_preset("mine", (1, 2, 4))
    config.validate([1, 4, 16])
    assert (config.skip_stages or config.drop_stages) in ([16], [4])


@pytest.mark.parametrize("patch_nums", [(), (2, 1), (1, 1), (0, 1), (1, 2.0), (True, 2)])
def test_what_is_no_pyramid_is_refused(patch_nums):
    with pytest.raises(ValueError, match="allowed are rising whole numbers"):
        HARTCacheConfig.from_preset("original-cache", patch_nums)


def test_an_unknown_preset_names_the_nearest_and_all():
    with pytest.raises(ValueError, match="unknown preset 'agressive', nearest to it is 'aggressive-cache'") as error:
        HARTCacheConfig.from_preset("agressive")
    assert all(name in str(error.value) for name in NAMES)


def test_presets_are_fresh_objects():
    HARTCacheConfig.from_preset("original-cache").skip_stages.append(4)
    assert HARTCacheConfig.from_preset("original-cache").skip_stages == SKIP


def test_a_missing_preset_file_says_so(monkeypatch):
    monkeypatch.setattr(presets, "FILE_NAME", "gone.json")
    with pytest.raises(FileNotFoundError, match=r"gone\.json is neither in .* nor beside it"):
        presets.read_presets()


SIDES = st.lists(st.integers(1, 80), min_size=1, max_size=18, unique=True).map(sorted)


@settings(deadline=None)
@given(name=st.sampled_from(NAMES), sides=SIDES)
def test_a_preset_on_any_pyramid_is_valid_or_refused(name, sides):
    try:
        config = HARTCacheConfig.from_preset(name, sides)
    except ValueError as error:
        assert len(sides) == 1
        assert "leaves nothing to reuse" in str(error)
    else:
        config.validate([side * side for side in sides])


# -- files ---------------------------------------------------------------------------------------------------------


def subset(values):
    return st.lists(st.sampled_from(values), unique=True) if values else st.just([])


@st.composite
def valid_configs(draw):
    """Any valid configuration on the ten stages for 12 layers."""
    skip = draw(subset(DEFAULT_STAGES[1:]))
    drop = draw(subset(sorted(set(DEFAULT_STAGES[1:]) - set(skip))))
    cache = draw(subset(sorted(set(DEFAULT_STAGES) - set(drop))))
    if skip and not any(source < stage for stage in skip for source in cache):
        cache.append(1)
    unit, flag, layers = st.floats(0, 1) | st.integers(0, 1), st.booleans(), st.none() | subset(range(12))
    names = known_names()
    unselected = draw(st.sampled_from(["reuse", "nothing"]))
    config = HARTCacheConfig(
        skip_stages=skip,
        cache_stages=list(dict.fromkeys(cache)),
        enable_attn_cache=draw(flag),
        enable_mlp_cache=draw(flag),
        threshold=draw(unit),
        adaptive_threshold=draw(flag),
        interpolation_mode=draw(st.sampled_from(names["interpolation_mode"])),
        calibration_samples=draw(st.integers(1, 10**6)),
        similarity_window=draw(st.integers(1, 10**6)),
        refresh_ratio=draw(st.dictionaries(st.sampled_from(skip), unit)) if skip else {},
        unselected=unselected,
        token_selector=draw(st.sampled_from(names["token_selector"])),
        select_per_branch=draw(flag),
        select_per_row=draw(flag),
        reuse_codes=draw(st.sampled_from(["sampled", "soft"])),
        drop_stages=drop,
        unguided_from=draw(st.none() | st.sampled_from([4, 100, 256])),
        attn_kv=draw(st.sampled_from(["append", "drop"])),
        estimator=draw(st.sampled_from(["auto", "online", "calibrated"])),
        similarity_metric=draw(st.sampled_from(names["similarity_metric"])),
        sim_path=draw(st.none() | st.text(string.printable, min_size=1)),
        attn_threshold=draw(st.none() | unit),
        mlp_threshold=draw(st.none() | unit),
        threshold_schedule=draw(st.sampled_from(names["threshold_schedule"])),
        adaptive_range=draw(unit),
        layers=draw(layers),
        attn_layers=draw(layers),
        mlp_layers=draw(layers),
        first_layers=draw(st.integers(0, 12)),
        corrector_layers=draw(st.integers(0, 12)),
        memory_budget_mb=draw(st.none() | st.floats(0, 1e6)),
        eviction=draw(st.sampled_from(names["eviction"])),
    )
    plain = {name: allowed for name, (allowed, _) in NOT_WITH_NOTHING.items()}
    return dataclasses.replace(config, **plain) if unselected == "nothing" else config


@settings(max_examples=60, deadline=None)
@given(config=valid_configs())
def test_any_valid_config_comes_back_from_json(config, tmp_path_factory):
    config.validate(depth=12)
    path = tmp_path_factory.mktemp("json") / "config.json"
    config.to_json(path)
    assert HARTCacheConfig.from_json(path) == config
    assert HARTCacheConfig.from_dict(config.to_dict()) == config
    assert json.loads(json.dumps(config.to_dict())) == config.to_dict()
    assert copy.deepcopy(config) == config


WRONG = st.sampled_from([None, "x y", 1.5, -1, True, [None], [-1], {"a": 1}, object, float("nan"), ["64"], {}, []])


@settings(max_examples=200, deadline=None)
@given(name=st.sampled_from(list(RULES)), value=WRONG)
def test_a_wrong_type_is_refused_in_one_sentence(name, value):
    """Whatever the rule of a field says no to is refused when read, and the sentence starts with the field."""
    if RULES[name][0](value):
        return
    with pytest.raises(ValueError, match="; allowed is ") as error:
        HARTCacheConfig.from_dict({name: value})
    assert str(error.value).startswith(f"{name} is ")
    assert "\n" not in str(error.value)


@given(name=st.text(min_size=1).filter(lambda text: text not in RULES))
def test_an_unknown_field_is_refused(name):
    with pytest.raises(ValueError, match="unknown field"):
        HARTCacheConfig.from_dict({name: 1})


def test_an_unknown_field_names_the_nearest(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"skip_stage": [256]}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"config.json: unknown field 'skip_stage', nearest to it is 'skip_stages'"):
        HARTCacheConfig.from_json(path)


def test_stages_that_are_keys_come_back_as_numbers(tmp_path):
    path = tmp_path / "config.json"
    usable(refresh_ratio={256: 0.25, 169: 0.5}).to_json(path)
    assert json.loads(path.read_text(encoding="utf-8"))["refresh_ratio"] == {"256": 0.25, "169": 0.5}
    assert HARTCacheConfig.from_json(path).refresh_ratio == {256: 0.25, 169: 0.5}


def test_json_of_an_older_version_loads(tmp_path):
    path = tmp_path / "config.json"
    nine = {f.name: getattr(usable(), f.name) for f in dataclasses.fields(HARTCacheConfig)[:9]}
    path.write_text(json.dumps(nine), encoding="utf-8")
    assert HARTCacheConfig.from_json(path) == usable()


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", "null", '{"threshold": NaN}', '{"threshold": "high"}'])
def test_a_file_that_is_no_configuration_is_named(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"config\.json: "):
        HARTCacheConfig.from_json(path)


def test_a_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        HARTCacheConfig.from_json(tmp_path / "none.json")


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch, step):
    path = tmp_path / "config.json"
    usable(threshold=0.1).to_json(path)
    before = path.read_bytes()

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, step, interrupt)
    with pytest.raises(KeyboardInterrupt):
        usable(threshold=0.9).to_json(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_wrong_value_is_not_saved(tmp_path):
    config = usable()
    config.threshold = float("nan")
    with pytest.raises(ValueError, match="threshold is nan"):
        config.to_json(tmp_path / "config.json")
    assert list(tmp_path.iterdir()) == []


def test_a_path_object_may_name_the_table(tmp_path):
    config = usable(sim_path=tmp_path / "table.json")
    config.validate()
    assert config.sim_path == str(tmp_path / "table.json")


# -- words ---------------------------------------------------------------------------------------------------------


def test_run_tags():
    assert usable().run_tag() == "hart-skip169+256_src100+169_t0.70_bilinear"
    assert HARTCacheConfig.from_preset("no-cache").run_tag() == "hart-nocache"
    assert HARTCacheConfig(drop_stages=[256, 169]).run_tag() == "hart-drop169+256"
    attention_only = usable(cache_stages=[169], threshold=0.8, enable_mlp_cache=False)
    assert attention_only.run_tag() == "hart-skip169+256_src169_t0.80_bilinear_attn"
    tag = usable(adaptive_threshold=True, refresh_ratio={256: 0.25, 169: 0.5}, sim_path="a b/table 1.json").run_tag()
    assert tag == (
        "hart-skip169+256_src100+169_t0.70_bilinear_adaptive_refreshratio169x0.5+256x0.25_simpathtable-1.json"
    )


@settings(max_examples=60, deadline=None)
@given(config=valid_configs())
def test_any_config_has_a_tag_that_names_a_file(config):
    tag = config.run_tag()
    assert tag.startswith("hart-")
    assert set(tag) <= set(string.ascii_letters + string.digits + "+-_.")
    assert config.describe().endswith(".")


def test_descriptions():
    assert HARTCacheConfig().describe() == "Every branch is computed."
    assert usable(refresh_ratio={256: 0.25}, unselected="nothing").describe() == (
        "At stages 169, 256, attention and MLP may reuse what stages 100, 169 left (threshold 0.7, bilinear); "
        "tokens computed all the same: 25% at 256 by fastvar, the others add nothing."
    )
    assert HARTCacheConfig(drop_stages=[256, 169]).describe() == "Stages 169, 256 are not run."


def test_changes_are_the_fields_that_differ_from_the_defaults():
    assert HARTCacheConfig().changes() == {}
    config = HARTCacheConfig(skip_stages=[256], refresh_ratio={256: 0.5}, unselected="nothing")
    assert config.changes() == {"skip_stages": [256], "refresh_ratio": {"256": 0.5}, "unselected": "nothing"}
    assert HARTCacheConfig.from_dict(config.changes()) == config


def test_fitting_presets_are_those_that_change_something():
    assert list(HARTCacheConfig.fitting_presets(TEN)) == [n for n in HARTCacheConfig.preset_names() if n != "no-cache"]
    assert HARTCacheConfig.fitting_presets((1,)) == {}
