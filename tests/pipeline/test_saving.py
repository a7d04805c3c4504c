"""What `save_pretrained` writes and `from_pretrained` reads back; devices, dtypes and components."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from hart import HARTPipeline
from hart.modules.cache_config import HARTCacheConfig
from hart.modules.models.transformer import HARTForT2I
from hart.utils.text_model import TextModel, load_text_model


def load(path, **options) -> HARTPipeline:
    return HARTPipeline.from_pretrained(path, **{"device": "cpu", "progress": False, **options})


def painted(pipe: HARTPipeline) -> torch.Tensor:
    return pipe("a big red cat", seed=3, output_type="pt").images


def all_tensors(pipe: HARTPipeline) -> dict[str, torch.Tensor]:
    parts = {"llm": pipe.model, "tokenizer": pipe.model.vae, "text_encoder": pipe.text_model}
    return {f"{part}.{key}": value for part, module in parts.items() for key, value in module.state_dict().items()}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_saved_pipeline_comes_back_bit_for_bit(checkpoint_root, tmp_path, dtype):
    pipe = load(checkpoint_root, dtype=dtype)
    assert pipe.save_pretrained(tmp_path / "saved") == tmp_path / "saved"
    again = load(tmp_path / "saved", dtype=dtype)
    expected, found = all_tensors(pipe), all_tensors(again)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert tensor.dtype == found[name].dtype and torch.equal(tensor, found[name]), name
    assert again.system_prompt == pipe.system_prompt and not again.model.use_cache
    assert torch.equal(painted(again), painted(pipe))


def test_everything_that_decides_a_picture_is_saved(checkpoint_root, tmp_path):
    settings = HARTCacheConfig(skip_stages=[169, 256], cache_stages=[100], threshold=0.0)
    pipe = load(checkpoint_root, dtype="float32", cache=settings, system_prompt="a picture of")
    pipe.generation_config |= {"guidance_scale": 1.5, "top_k": 3}
    pipe.save_pretrained(tmp_path / "saved")
    again = load(tmp_path / "saved", dtype="float32")
    assert again.system_prompt == "a picture of" and again.generation_config == pipe.generation_config
    assert again.model.cache_config == settings and again.model.use_cache
    assert torch.equal(painted(again), painted(pipe))
    assert load(tmp_path / "saved", cache="no-cache").model.cache_config.changes_nothing


def test_a_table_of_similarities_travels_with_the_cache_settings(checkpoint_root, tmp_path):
    pipe = load(checkpoint_root, dtype="float32")
    table = tmp_path / "table.json"
    settings = HARTCacheConfig([256], [100], threshold=0.0)
    pipe.model.set_cache_config(settings)
    pipe.model.calibrate_thresholds(1, sim_path=table, progress=False)
    pipe.model.set_cache_config(replace(settings, sim_path=str(table)))
    expected = painted(pipe)
    pipe.save_pretrained(tmp_path / "saved")
    table.unlink()
    moved = shutil.move(tmp_path / "saved", tmp_path / "moved")
    assert torch.equal(painted(load(moved, dtype="float32")), expected)


def test_no_warning_where_the_saved_pipeline_had_no_system_prompt(checkpoint_root, tmp_path, caplog):
    load(checkpoint_root, system_prompt="").save_pretrained(tmp_path)
    assert not load(tmp_path).system_prompt
    assert not [record for record in caplog.records if "system prompt" in record.getMessage()]


def test_saving_again_replaces_and_leaves_no_old_settings(checkpoint_root, tmp_path):
    pipe = load(checkpoint_root, dtype="float32", cache="original-cache")
    pipe.save_pretrained(tmp_path)
    pipe.model.disable_cache()
    pipe.save_pretrained(tmp_path)
    assert not load(tmp_path).model.use_cache
    assert {entry.name for entry in tmp_path.iterdir()} == {"llm", "tokenizer", "text_encoder", "system_prompt.txt"}


def test_weights_that_would_be_read_instead_are_refused(checkpoint_root, tmp_path):
    (tmp_path / "llm").mkdir()
    (tmp_path / "llm" / "ema_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"save_directory must be .* 'llm/ema_model.bin' would be read instead"):
        load(checkpoint_root).save_pretrained(tmp_path)
    assert [entry.name for entry in tmp_path.rglob("*")] == ["llm", "ema_model.bin"]


def test_a_folder_is_needed(pipeline, tmp_path):
    with pytest.raises(ValueError, match=r"save_directory must be a folder, got 5"):
        pipeline.save_pretrained(5)
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file"):
        pipeline.save_pretrained(tmp_path / "file")


def test_the_saved_config_names_no_folder_of_this_machine(checkpoint_root, tmp_path):
    pipe = load(checkpoint_root)
    pipe.model.config.vae_path = str(checkpoint_root / "tokenizer")
    pipe.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "llm" / "config.json").read_text())
    assert written["vae_path"] is None and written["architectures"] == ["HARTForT2I"]
    assert str(checkpoint_root) not in (tmp_path / "llm" / "config.json").read_text()


def test_components_make_a_second_pipeline(pipeline):
    second = HARTPipeline(**pipeline.components, progress=False)
    assert second.model is pipeline.model and torch.equal(painted(second), painted(pipeline))


# -- names of other packages -----------------------------------------------------------------------------------------


def test_torch_dtype_is_another_name_of_dtype(checkpoint_root):
    assert load(checkpoint_root, torch_dtype="bfloat16").dtype == torch.bfloat16
    assert HARTForT2I.from_pretrained(checkpoint_root, torch_dtype=torch.bfloat16).dtype == torch.bfloat16
    for loader in (load, HARTForT2I.from_pretrained):
        with pytest.raises(ValueError, match=r"torch_dtype must be left out where dtype is given"):
            loader(checkpoint_root, dtype=torch.float32, torch_dtype=torch.float32)


@pytest.mark.parametrize("device_map", ["auto", "cpu", {"": "cpu"}, torch.device("cpu")])
def test_a_device_map_of_one_device(checkpoint_root, device_map):
    options = {"device_map": device_map, "progress": False}
    if not torch.cuda.is_available():
        assert HARTPipeline.from_pretrained(checkpoint_root, **options).device.type == "cpu"
        assert HARTForT2I.from_pretrained(checkpoint_root, device_map=device_map).device.type == "cpu"
    with pytest.raises(ValueError, match=r"device_map must be left out where device is given"):
        load(checkpoint_root, device_map=device_map)


@pytest.mark.parametrize("device_map", ["balanced", {"blocks": "cpu", "": "cpu"}, 1.5])
def test_a_device_map_of_several_devices_says_why_not(checkpoint_root, device_map):
    with pytest.raises(ValueError, match=r"device_map must be one device .* the whole model fits one device"):
        HARTPipeline.from_pretrained(checkpoint_root, device_map=device_map)


def test_the_attention_that_is_built_in_may_be_named(checkpoint_root):
    assert load(checkpoint_root, attn_implementation="sdpa").text_model.config._attn_implementation == "sdpa"
    HARTForT2I.from_pretrained(checkpoint_root, attn_implementation="sdpa")
    for loader in (load, HARTForT2I.from_pretrained):
        with pytest.raises(ValueError, match=r"attn_implementation must be 'sdpa' or None, got 'flash_attention_2'"):
            loader(checkpoint_root, attn_implementation="flash_attention_2")


def test_to_casts_what_loading_would(checkpoint_root):
    expected = load(checkpoint_root, dtype="bfloat16")
    pipe = load(checkpoint_root, dtype="float32")
    assert pipe.to("cpu", torch.bfloat16) is pipe
    assert {key: value.dtype for key, value in all_tensors(pipe).items()} == {
        key: value.dtype for key, value in all_tensors(expected).items()
    }
    assert torch.equal(painted(pipe), painted(expected))
    assert load(checkpoint_root, dtype="float32").to(dtype="bfloat16").dtype == torch.bfloat16
    assert pipe.to("cpu").dtype == torch.bfloat16 and pipe.to("float32").dtype == torch.float32


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        (("cpu", "cpu"), r"one device and one dtype at most, got 'cpu'"),
        (("gpu",), r"device is 'gpu'"),
        ((5,), r"device is '5'"),
    ],
)
def test_to_refuses_what_it_does_not_know(pipeline, where, sentence):
    with pytest.raises(ValueError, match=sentence):
        pipeline.to(*where)


# -- the text model --------------------------------------------------------------------------------------------------


def test_a_loaded_text_model_can_be_given(checkpoint_root, pipeline):
    text = load_text_model(checkpoint_root / "text_encoder")
    pipe = load(checkpoint_root, dtype="float32", text_model=text)
    assert pipe.text_model is text.model and torch.equal(painted(pipe), painted(pipeline))
    with pytest.raises(ValueError, match=r"text_model must be left out where text_model_path is given"):
        load(checkpoint_root, text_model=text, text_model_path="x")


def test_an_offloaded_text_model_is_read_again_where_it_is_needed(checkpoint_root, pipeline, monkeypatch):
    reads = []

    def counted(*arguments, **options) -> TextModel:
        reads.append(arguments)
        return load_text_model(*arguments, **options)

    monkeypatch.setattr("hart.pipeline.loading.load_text_model", counted)
    pipe = load(checkpoint_root, dtype="float32", offload_text_model=True)
    prompts = ["a cat", "a dog", "a cat"]
    held = []
    output = pipe(
        prompts, seed=1, output_type="pt", batch_size=1, callback_on_stage_end=lambda *_: held.append(pipe._home._model)
    )
    assert len(held) == 30 and set(held) == {None} and len(reads) == 1
    assert torch.equal(output.images, pipeline(prompts, seed=1, output_type="pt").images)
    features = pipe.encode_prompt("a dog")
    assert len(reads) == 2
    assert torch.equal(pipe(prompt_embeds=features, seed=2, output_type="pt").images, output.images[1:2])
    assert len(reads) == 2  # nothing had to be encoded


def test_a_text_model_that_cannot_be_read_again_is_not_dropped(checkpoint_root):
    text = load_text_model(checkpoint_root / "text_encoder")
    with pytest.raises(ValueError, match=r"offload_text_model must be False for a text model that is on the CPU"):
        load(checkpoint_root, text_model=text, offload_text_model=True)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"offload_text_model": "yes"}, r"offload_text_model must be True or False, got 'yes'"),
        ({"progress": None}, r"progress must be True or False, got None"),
        ({"ema": "yes"}, r"ema must be True or False, got 'yes'"),
        ({"system_prompt": 5}, r"system_prompt must be a text or a list of texts, got 5"),
        ({"text_model": 5}, r"text_model must be a folder, a hub id or a loaded TextModel, got 5"),
        ({"cache": True}, r"cache_config must be a HARTCacheConfig, a preset's name or None, got True"),
        ({"safety_checker": True}, r"safety_checker must be a function"),
        ({"dtype": 16}, r"dtype is 16; allowed are"),
    ],
)
def test_options_of_a_wrong_type_are_refused(checkpoint_root, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        load(checkpoint_root, **options)


@pytest.mark.parametrize("path", [5, b"folder", ["a"]])
def test_a_path_of_a_wrong_type_is_refused(path):
    for loader in (load, HARTForT2I.from_pretrained):
        with pytest.raises(ValueError, match=r"model path must be a folder or a hub id, got"):
            loader(path)


def test_parts_of_a_wrong_kind_are_refused(pipeline):
    parts = {"model": pipeline.model, "text_model": pipeline.text_model, "tokenizer": pipeline.tokenizer}
    for name, kind in (("model", "HARTForT2I"), ("text_model", "PreTrainedModel"), ("tokenizer", "PreTrained")):
        with pytest.raises(ValueError, match=rf"{name} must be a {kind}.*, got NoneType"):
            HARTPipeline(**(parts | {name: None}))
