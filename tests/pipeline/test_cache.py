"""The stage cache through the pipeline, the comparison and the script."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hart import HARTPipeline
from hart.benchmark.compare import compare_presets, psnr
from hart.modules.cache_config import HARTCacheConfig
from hart.modules.enhanced_hart import EnhancedHARTForT2I, create_enhanced_hart_model
from hart.modules.models.transformer import HARTForT2I
from tests.scripts.test_enhanced_inference import run, script  # noqa: F401

ALWAYS = HARTCacheConfig(skip_stages=[169, 256], cache_stages=[100], threshold=0.0)


def painted(pipeline, **settings):
    return pipeline("a cat", seed=1, output_type="np", **settings)


def test_the_pipeline_paints_with_a_cache(pipeline, checkpoint_root):
    plain = HARTForT2I.from_pretrained(checkpoint_root, dtype=torch.float32)
    parts = pipeline.text_model, pipeline.tokenizer, pipeline.system_prompt
    cached = HARTPipeline(plain, *parts, progress=False, cache=ALWAYS)
    output, expected = painted(cached), painted(pipeline)
    assert output.cache_statistics["hits"] == 12 and expected.cache_statistics is None
    assert not np.array_equal(output.images, expected.images)
    assert painted(cached).cache_statistics["hits"] == 12  # of one call
    assert cached.model.get_cache_statistics()["hits"] == 24
    assert not plain.use_cache and np.array_equal(painted(HARTPipeline(plain, *parts)).images, expected.images)
    plain.use_cache = True
    assert painted(HARTPipeline(plain, *parts)).cache_statistics["config"]["skip_stages"] == [169, 256]


def test_a_second_pipeline_s_cache_leaves_the_first_one_alone(pipeline):
    parts = pipeline.text_model, pipeline.tokenizer, pipeline.system_prompt
    first = HARTPipeline(pipeline.model, *parts, progress=False, cache=ALWAYS)
    before = painted(first)
    second = HARTPipeline(first.model, *parts, progress=False, cache="conservative-cache")
    assert first.model.cache_config == ALWAYS and second.model.cache_config != ALWAYS
    assert second.model.blocks is first.model.blocks
    again = painted(first)
    assert np.array_equal(again.images, before.images) and again.cache_statistics == before.cache_statistics


def test_loading_with_a_preset(checkpoint_root):
    pipeline = HARTPipeline.from_pretrained(checkpoint_root, dtype="float32", progress=False, cache="original-cache")
    assert isinstance(pipeline.model, EnhancedHARTForT2I) and pipeline.model.is_cache_enabled
    with pytest.raises(ValueError, match="original-cache"):
        HARTPipeline.from_pretrained(checkpoint_root, progress=False, cache="original")


def test_comparison(pipeline):
    compared = compare_presets(
        pipeline, ["a cat", "a dog"], ["original-cache", "ultra-fast"], repeats=2, progress=False
    )
    assert [row.name for row in compared.rows] == ["no-cache", "original-cache", "ultra-fast"]
    assert all(math.isinf(value) for value in compared.rows[0].psnr)
    assert all(0 < value < 60 for row in compared.rows[1:] for value in row.psnr)
    sheet = compared.sheet()
    assert sheet.width == 2 * (128 + 8) + 8 and sheet.height > 3 * 128
    told = json.loads(json.dumps(compared.to_dict(), allow_nan=False))
    assert told["rows"][0]["psnr"] == [None, None] and told["rows"][0]["speed_up"] == 1.0
    assert len(told["rows"][1]["seconds"]) == 2 and told["rows"][1]["cache_hit_rate"] > 0
    assert not pipeline.model.is_cache_enabled


def test_psnr_by_hand():
    zeros = torch.zeros(1, 3, 4, 4)
    assert psnr(zeros + 0.1, zeros) == pytest.approx([20.0])
    assert psnr(zeros, zeros) == [math.inf]


@pytest.fixture
def cached(pipeline, checkpoint_root):
    """A pipeline whose model a test may change."""
    model = EnhancedHARTForT2I.from_pretrained(checkpoint_root, dtype=torch.float32)
    return HARTPipeline(**(pipeline.components | {"model": model}), progress=False)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("missing/table.json", r"sim_path must be a file in a folder that exists, got '.*missing/table.json'"),
        (".", r"sim_path must be a file, got the folder"),
        ("n" * 256, r"sim_path '.*n+' cannot be written: File name too long"),
    ],
)
def test_a_result_file_is_tried_before_anything_is_painted(cached, tmp_path, name, sentence):
    model, seen = cached.model, []
    model.sim_path, model.calibration = tmp_path / name, True
    with pytest.raises(OSError, match=sentence):
        painted(cached, callback_on_stage_end=lambda *stage: seen.append(stage))
    model.calibration = False
    for measure in (
        lambda path: model.calibrate_thresholds(1, sim_path=path, progress=False),
        lambda path: model.benchmark_performance(1, json_path=path, progress=False),
    ):
        with pytest.raises(OSError, match=sentence.replace("sim_path", "(sim|json)_path")):
            measure(tmp_path / name)
    assert seen == [] and list(tmp_path.iterdir()) == []


def test_a_recorded_table_lands_where_it_was_asked_for(cached, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    cached.model.sim_path, cached.model.calibration = "table.json", True
    painted(cached, callback_on_stage_end=lambda *_: monkeypatch.chdir(tmp_path / "elsewhere"))
    assert (tmp_path / "table.json").is_file()
    monkeypatch.chdir(tmp_path)
    cached.model.calibration = False
    cached.model.set_cache_config(HARTCacheConfig([256], [169], sim_path="table.json"))
    cached.model.save_cache_config(tmp_path / "elsewhere" / "config.json")
    monkeypatch.chdir(tmp_path / "elsewhere")
    cached.model.load_cache_config("config.json")
    assert cached.model.cache_config.sim_path == str(tmp_path / "table.json")


@pytest.mark.parametrize("setting", [True, {}, {"skip_stages": [256]}, Path("config.json"), 5, ["ultra-fast"]])
def test_settings_of_a_wrong_type_are_refused(cached, setting):
    model = cached.model
    for use in (
        model.set_cache_config,
        model.enable_cache,
        lambda value: HARTPipeline(**cached.components, cache=value),
        lambda value: create_enhanced_hart_model(model.config, custom_cache_config=value),
    ):
        with pytest.raises(ValueError, match=r"cache_config must be a HARTCacheConfig, a preset's name or None, got"):
            use(setting)
    assert model.cache_config is None


def test_settings_that_name_no_table_or_a_file_say_so(cached):
    with pytest.raises(FileNotFoundError, match=r"sim_path of the cache settings must be .* got 'x'"):
        cached.model.set_cache_config(HARTCacheConfig([256], [169], sim_path="x"))
    with pytest.raises(ValueError, match=r"preset must be a name, got 'a/b.json'; HARTCacheConfig.from_json"):
        cached.model.set_cache_config("a/b.json")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", r"hart_cache_presets.json' is not JSON"),
        ("[]", r"hart_cache_presets.json' must hold an object with a list `stages`"),
        ('{"presets": {}}', r"must hold an object with a list `stages`"),
        ('{"stages": [1, 4], "presets": {"a": {}}}', r"preset 'a' must be an object with an object `config`"),
        ('{"stages": [1, 4], "presets": {"a": {"config": {"skip_stages": 4}}}}', r"preset 'a' in hart_cache_presets"),
        ('{"stages": [1, 4], "presets": {"a": {"config": {"skip": []}}}}', r"preset 'a' in .*: unknown field 'skip'"),
    ],
)
def test_an_edited_file_of_presets_is_named(tmp_path, monkeypatch, content, sentence):
    (tmp_path / "hart_cache_presets.json").write_text(content)
    monkeypatch.setattr("hart.modules.cache.presets.files", lambda package: tmp_path)
    with pytest.raises(ValueError, match=sentence) as told:
        HARTCacheConfig.from_preset("a", patch_nums=(1, 2))
    assert "\n" not in str(told.value)


PROMPT = ("--prompts", "a cat")


def test_cache_flags(run, tmp_path):  # noqa: F811
    flags = ("--skip_stages", "256", "--cache_stages", "100", "--threshold", "0", "--disable_mlp_cache")
    status, out, _ = run(*PROMPT, *flags, "--interpolation_mode", "nearest", "--adaptive_threshold")
    assert status == 0 and "stage cache: 100% of its decisions reused" in out
    cache = json.loads((tmp_path / "out" / "results.json").read_text())["cache"]
    expected = HARTCacheConfig([256], [100], True, False, 0.0, True, "nearest")
    assert cache["config"] == expected.to_dict() and cache["hits"] == 3


def test_settings_from_a_file_or_by_name(run, tmp_path):  # noqa: F811
    ALWAYS.to_json(tmp_path / "settings.json")
    assert run(*PROMPT, "--custom_cache_config", str(tmp_path / "settings.json"))[0] == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["cache"]["config"] == ALWAYS.to_dict()
    assert run(*PROMPT, "--cache_preset", "ultra-fast")[0] == 0
    assert run(*PROMPT)[0] == 0
    assert json.loads((tmp_path / "out" / "results.json").read_text())["cache"] is None


def test_calibrate_and_benchmark(run, tmp_path):  # noqa: F811
    status, out, _ = run(*PROMPT, "--calibrate", "--benchmark")
    assert status == 0
    written = {file.name for file in (tmp_path / "out").iterdir()}
    extra = {"similarity_table.json", "cache_config.json", "benchmark.json"}
    assert extra < written and all(name in out for name in extra)
    saved = HARTCacheConfig.from_json(tmp_path / "out" / "cache_config.json")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert saved.attn_threshold == results["calibration"]["attn_threshold"]
    assert results["benchmark"]["benchmark"]["mean_time"] > 0
    assert run(*PROMPT, "--custom_cache_config", str(tmp_path / "out" / "cache_config.json"))[0] == 0


def test_compare_configs(run, tmp_path):  # noqa: F811
    status, out, _ = run("--prompts", "a cat", "a dog", "--compare_configs", "ultra-fast")
    assert status == 0 and "2 presets compared" in out
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"comparison.png", "comparison.json"}
    assert Image.open(tmp_path / "out" / "comparison.png").width == 2 * (256 + 8) + 8
    rows = json.loads((tmp_path / "out" / "comparison.json").read_text())["rows"]
    assert [row["preset"] for row in rows] == ["no-cache", "ultra-fast"]


@pytest.mark.parametrize(
    "flags, sentence",
    [
        (("--skip_stages", "255"), "skip_stages names stage 255"),
        (("--threshold", "2"), "--threshold: it is '2'; allowed is a number from 0 to 1"),
        (("--cache_preset", "original"), "nearest to it is 'original-cache'"),
        (("--cache_preset", "no-cache", "--custom_cache_config", "x"), "not allowed with argument"),
        (("--custom_cache_config", "/nowhere.json"), "/nowhere.json"),
        (("--compare_configs", "fastest"), "unknown preset 'fastest'"),
        (("--interpolation_mode", "linear"), "unknown interpolation_mode 'linear'"),
    ],
)
def test_bad_flags(run, tmp_path, flags, sentence):  # noqa: F811
    status, out, err = run(*PROMPT, *flags)
    assert status == 2 and out == "" and sentence in err, err
    assert list(tmp_path.iterdir()) == []
