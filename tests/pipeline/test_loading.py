"""What `HARTPipeline.from_pretrained` finds, assumes and refuses."""

import logging
import shutil

import pytest
import torch

import hart.pipeline.folders
from hart import HARTPipeline, embedded_model_path, sample_prompts
from hart.utils import default_dtype


@pytest.fixture
def other_root(checkpoint_root, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(checkpoint_root, tmp_path / "other")


def load(path, **options) -> HARTPipeline:
    return HARTPipeline.from_pretrained(path, **{"device": "cpu", "progress": False, **options})


def test_root_and_llm_folder_are_the_same_checkpoint(checkpoint_root, pipeline):
    for path in (checkpoint_root, checkpoint_root / "llm", f"{checkpoint_root / 'llm'}/"):
        other = load(path, dtype="float32")
        assert other.system_prompt == pipeline.system_prompt
        for key, tensor in pipeline.model.state_dict().items():
            assert torch.equal(tensor, other.model.state_dict()[key])


def test_without_a_path_the_embedded_model_is_loaded(checkpoint_root, monkeypatch):
    monkeypatch.setattr(hart.pipeline.folders, "embedded_model_path", lambda: checkpoint_root / "llm")
    assert load(None).model.config.depth == 3


def test_a_missing_embedded_model_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(hart.pipeline.folders, "embedded_model_path", lambda: tmp_path / "llm")
    with pytest.raises(FileNotFoundError, match=r"embedded model is not in .*; install the package again"):
        load(None)


def test_the_embedded_path_is_an_llm_folder_in_the_package():
    assert embedded_model_path().parts[-4:] == ("hart", "assets", "embedded", "llm")


def test_sample_prompts_are_captions_of_both_styles_and_sizes():
    from hart.evaluation import parse_caption

    scenes = [parse_caption(prompt) for prompt in sample_prompts()]
    assert len(scenes) == 4 and {scene.style for scene in scenes} == {"3d", "flat"}
    assert [scene.size for scene in scenes].count("small") == 1
    assert any(scene.size == "small" and scene.position != "center" for scene in scenes)


@pytest.mark.parametrize("name, expected", [("float32", torch.float32), (torch.bfloat16, torch.bfloat16)])
def test_dtype_is_the_image_models(checkpoint_root, name, expected):
    pipe = load(checkpoint_root, dtype=name)
    assert pipe.dtype == expected and pipe.device == torch.device("cpu")
    # On CPU text features, which decide everything that follows, stay in float32.
    assert pipe.text_model.dtype == pipe.model.vae.quantize.embedding.weight.dtype == torch.float32


@pytest.mark.parametrize("fast", [torch.float32, torch.bfloat16])
def test_the_decoder_computes_in_what_the_processor_is_fast_in_or_what_is_asked_for(checkpoint_root, monkeypatch, fast):
    monkeypatch.setattr("hart.pipeline.loading.default_dtype", lambda device: fast)
    found = {}
    for asked in (None, "float32", torch.bfloat16):
        pipe = load(checkpoint_root, dtype="bfloat16", decoder_dtype=asked)
        found[asked] = pipe.model.vae.decoder.conv_in.weight.dtype
        images = pipe("a cat", seed=1, output_type="pt").images
        assert images.dtype == torch.float32 and images.isfinite().all()
    assert found == {None: fast, "float32": torch.float32, torch.bfloat16: torch.bfloat16}


def test_the_codebook_is_not_rounded_whatever_the_model_computes_in(checkpoint_root):
    exact, coarse = (load(checkpoint_root, dtype=dtype).model.vae for dtype in ("float32", "bfloat16"))
    assert torch.equal(exact.quantize.embedding.weight, coarse.quantize.embedding.weight)


def test_dtype_defaults_to_what_the_device_is_fast_in(checkpoint_root):
    assert load(checkpoint_root).dtype == default_dtype("cpu")


def test_the_system_prompt_comes_from_the_argument_or_the_file(other_root):
    assert load(other_root).system_prompt.startswith("please")
    assert load(other_root, system_prompt="the image").system_prompt == "the image"
    assert load(other_root, system_prompt="").system_prompt == ""


def test_a_missing_system_prompt_is_warned_about_unless_it_was_declined(other_root, caplog):
    (other_root / "system_prompt.txt").unlink()
    with caplog.at_level(logging.WARNING):
        load(other_root, system_prompt="")
        assert not caplog.records
        load(other_root)
    assert "system_prompt.txt does not exist" in caplog.text and "differ from the published ones" in caplog.text


def test_the_embedded_model_needs_no_system_prompt(other_root, caplog, monkeypatch):
    (other_root / "system_prompt.txt").unlink()
    for module in ("hart.embedded", "hart.pipeline.folders"):
        monkeypatch.setattr(f"{module}.embedded_model_path", lambda: other_root / "llm")
    with caplog.at_level(logging.WARNING):
        load(None)
    assert not caplog.records


def test_a_text_model_elsewhere_can_be_named(other_root, checkpoint_root):
    shutil.rmtree(other_root / "text_encoder")
    with pytest.raises(FileNotFoundError, match=r"text_encoder' does not exist; give text_model_path"):
        load(other_root)
    assert load(other_root, text_model_path=checkpoint_root / "text_encoder").text_model is not None


def test_a_text_model_of_another_width_is_refused(pipeline):
    from transformers import Qwen2Config, Qwen2Model

    sizes = {"hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2, "num_hidden_layers": 1}
    other = Qwen2Model(Qwen2Config(vocab_size=35, intermediate_size=16, **sizes))
    with pytest.raises(ValueError, match=r"text_model must have the hidden size 48 .* got 32"):
        HARTPipeline(pipeline.model, other, pipeline.tokenizer)


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"dtype": "float8"}, r"dtype is 'float8'; allowed are float32"),
        ({"device": "gpu"}, r"device is 'gpu'; allowed are cpu"),
        ({"text_model_path": "/nowhere"}, r"text model folder '/nowhere' does not exist"),
    ],
)
def test_bad_options_are_refused_with_a_sentence(checkpoint_root, options, sentence):
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        load(checkpoint_root, **options)


def test_a_missing_checkpoint_is_named():
    with pytest.raises(FileNotFoundError, match=r"model path '/nowhere' is not a folder"):
        load("/nowhere")


def test_loading_leaves_the_bars_of_transformers_as_they_were(checkpoint_root, capfd):
    from transformers.utils import logging as transformers_logging

    shown = transformers_logging.is_progress_bar_enabled()
    load(checkpoint_root)
    assert transformers_logging.is_progress_bar_enabled() == shown
    assert "Loading weights" not in capfd.readouterr().err


@pytest.mark.parametrize("part", ["llm", "tokenizer"])
def test_a_pointer_of_git_lfs_says_what_to_run(other_root, part):
    (other_root / part / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(ValueError, match=r"model.safetensors' is a pointer of Git LFS .* run `git lfs pull`"):
        load(other_root)


def test_files_that_a_windows_editor_saved_are_read(other_root, pipeline):
    for name in ("llm/config.json", "tokenizer/config.json", "system_prompt.txt"):
        file = other_root / name
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    other = load(other_root, dtype="float32")
    assert other.system_prompt == pipeline.system_prompt
    assert torch.equal(
        other("a cat", seed=1, output_type="pt").images, pipeline("a cat", seed=1, output_type="pt").images
    )


def test_the_missing_system_prompt_names_the_command_that_finds_it(other_root, caplog):
    (other_root / "system_prompt.txt").unlink()
    load(other_root)
    assert f"`python -m hart.system_prompt PUBLISHED_CLONE {other_root}`" in caplog.text


def test_paths_are_remembered_from_where_they_were_given(other_root, monkeypatch, tmp_path):
    monkeypatch.chdir(other_root.parent)
    model = load("other").model
    monkeypatch.chdir(tmp_path / "other" / "llm")
    assert model.config.name_or_path == str(other_root / "llm")
    model._attached.clear()
    assert model.vae is not None  # read again from there
