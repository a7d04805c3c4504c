"""The configuration: JSON and back, and values that no model can be built from."""

import json

import pytest

from hart.modules.models.transformer import HARTForT2IConfig
from hart.modules.models.transformer.configuration import COUNTS, RATES
from tests.golden import FIXTURES


def test_defaults_are_the_published_ones():
    config = HARTForT2IConfig()
    assert config.patch_nums == (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
    assert (config.context_token, config.context_dim, config.depth, config.embed_dim) == (77, 768, 16, 1024)
    assert (config.num_heads, config.mlp_ratio, config.norm_eps, config.cond_drop_rate) == (16, 4.0, 1e-6, 0.1)
    assert (config.mlp_type, config.attn_type, config.sampler, config.num_sampling_steps) == (
        "gpt2",
        "gpt2",
        "iddpm",
        "8",
    )


def test_json_and_back_changes_nothing(tmp_path):
    config = HARTForT2IConfig(patch_nums=(1, 3, 9), depth=3, attn_type="llama", num_sampling_steps=4)
    config.save_pretrained(tmp_path)
    again = HARTForT2IConfig.from_pretrained(tmp_path)
    assert again.patch_nums == (1, 3, 9) and isinstance(again.patch_nums, tuple)
    assert again.num_sampling_steps == "4"
    ours, theirs = config.to_dict(), again.to_dict()
    assert {key: theirs[key] for key in ours} == ours | {"_name_or_path": str(tmp_path)}
    assert json.loads(config.to_json_string())["patch_nums"] == [1, 3, 9]


def test_it_remembers_where_it_was_read(tmp_path):
    HARTForT2IConfig().save_pretrained(tmp_path / "llm")
    for path in (tmp_path, tmp_path / "llm", f"{tmp_path}/llm/"):
        assert HARTForT2IConfig.from_pretrained(path).name_or_path == str(tmp_path / "llm")


def test_unknown_keys_are_ignored(tmp_path):
    HARTForT2IConfig().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"from_the_future": [1, 2]}))
    assert HARTForT2IConfig.from_pretrained(tmp_path).depth == 16


def test_standard_keys_are_kept():
    """The published classes dropped them."""
    config = HARTForT2IConfig.from_pretrained(FIXTURES / "llm")
    assert config.architectures == ["HARTForT2I"]
    assert str(config.dtype).endswith("float32")


@pytest.mark.parametrize("name", ["mlp_type", "attn_type", "sep_aln_pooling_mode", "sampler"])
@pytest.mark.parametrize("value", ["lama", "", None, 3])
def test_an_unknown_choice(name, value):
    with pytest.raises(ValueError, match=f"{name} is .*; allowed: '"):
        HARTForT2IConfig(**{name: value})


@pytest.mark.parametrize("sides", [(), (1,), (2, 4), (1, 1, 2), (1, 4, 2), (0, 1, 2), (1, 2.5), (1, "2"), None, 4])
def test_sides_that_do_not_rise_from_one(sides):
    with pytest.raises(ValueError, match=r"patch_nums is .*; allowed are at least two rising sides that start at 1"):
        HARTForT2IConfig(patch_nums=sides)


@pytest.mark.parametrize(("dim", "heads"), [(64, 5), (48, 8)])
def test_heads_that_do_not_fit(dim, heads):
    with pytest.raises(ValueError, match="num_heads is"):
        HARTForT2IConfig(embed_dim=dim, num_heads=heads, attn_type="llama")


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [0, -1, 1.5, "4", None, True])
def test_sizes_that_are_no_counts(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value!r}; allowed is a whole number from 1"):
        HARTForT2IConfig(**{name: value})


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), "0", None, True])
def test_rates_outside_zero_to_one(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value!r}; allowed is a number from 0 to 1"):
        HARTForT2IConfig(**{name: value})


@pytest.mark.parametrize("field", [{"mlp_type": "lama"}, {"patch_nums": [1, 4, 2]}, {"depth": 0}])
def test_a_file_that_no_model_can_be_built_from_is_named(tmp_path, field):
    HARTForT2IConfig().save_pretrained(tmp_path / "llm")
    file = tmp_path / "llm" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | field))
    with pytest.raises(ValueError, match=rf"^'{file}': {next(iter(field))} is .*; allowed"):
        HARTForT2IConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize("steps", ["", "eight", "0", "-8", "2000", "ddim999", None, 8.5])
def test_sampling_steps_that_no_schedule_has(steps):
    with pytest.raises(ValueError, match="num_sampling_steps"):
        HARTForT2IConfig(num_sampling_steps=steps)


def test_cross_attention_is_refused():
    with pytest.raises(ValueError, match="use_cross_attn is True"):
        HARTForT2IConfig(use_cross_attn=True)


@pytest.mark.parametrize(
    ("settings", "averages"),
    [
        ({"disable_aln": True}, False),
        ({"disable_aln": True, "shared_aln": True}, True),
        ({"sep_aln_pooling_mode": "avg"}, True),
        ({"sep_aln_pooling_mode": "max"}, False),
        ({"disable_aln": True, "sep_aln_pooling_mode": "avg"}, False),
    ],
)
def test_which_flavours_average_over_text(settings, averages):
    assert HARTForT2IConfig(**settings).averages_text is averages
