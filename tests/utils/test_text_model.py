"""Loading of language model and system prompt: what comes out, and what a broken folder says."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from hart.utils import load_system_prompt, load_text_model
from tests.golden import TEXT_MODEL


@pytest.fixture
def folder(tmp_path):
    """A copy of the fixture model that a test may damage."""
    return shutil.copytree(TEXT_MODEL, tmp_path / "text_model", copy_function=shutil.copy)


def test_the_tokenizer_is_of_the_class_its_configuration_names():
    """`AutoTokenizer` of transformers 5 would split words as Qwen2 does, and every id would be wrong."""
    assert load_text_model(TEXT_MODEL).tokenizer("a small red cat")["input_ids"] == [2, 10, 7, 4]


def test_model_has_the_dtype_asked_for_and_is_in_evaluation_mode():
    model = load_text_model(TEXT_MODEL, dtype=torch.bfloat16).model
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_a_missing_folder_or_configuration_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"folder '.*nowhere' does not exist"):
        load_text_model(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"has no config.json"):
        load_text_model(tmp_path)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer_config.json"])
def test_a_broken_file_is_a_value_error_that_names_the_folder(folder, file):
    (folder / file).write_text("{ not json")
    with pytest.raises(ValueError, match=r"text model in '.*text_model' cannot be loaded"):
        load_text_model(folder)


def test_an_unknown_model_type_is_a_value_error(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "no_such_model"}))
    with pytest.raises(ValueError, match=r"cannot be loaded: .*no_such_model"):
        load_text_model(folder)


def test_weights_outside_safetensors_are_not_read(folder):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"weights must be safetensors, got '.*pytorch_model.bin'"):
        load_text_model(folder)


def test_missing_weights_are_refused(folder):
    weights = load_file(folder / "model.safetensors")
    del weights[next(key for key in weights if key.endswith("norm.weight"))]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 weights, among them '.*norm.weight'"):
        load_text_model(folder)


def test_a_weight_of_another_shape_is_refused_and_named(folder, capfd):
    weights = load_file(folder / "model.safetensors")
    key = next(key for key in weights if key.endswith("input_layernorm.weight"))
    save_file(weights | {key: torch.ones(3)}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ValueError, match=r"text_model' has '.*norm.weight' of shape \[3\]; its config asks for \[48\]$"
    ):
        load_text_model(folder)
    assert "LOAD REPORT" not in capfd.readouterr().err


def test_system_prompt_is_read_to_the_last_line_break(tmp_path):
    assert load_system_prompt(tmp_path) is None
    (tmp_path / "system_prompt.txt").write_text("Rewrite.\nUser Prompt:\n", encoding="utf-8")
    assert load_system_prompt(tmp_path) == "Rewrite.\nUser Prompt:\n"
    (tmp_path / "system_prompt.txt").write_text("")
    assert load_system_prompt(str(tmp_path)) == ""


def test_a_pointer_of_git_lfs_says_what_to_run(folder):
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(ValueError, match=r"model.safetensors' is a pointer of Git LFS .* run `git lfs pull`"):
        load_text_model(folder)


def test_loading_draws_no_bar(folder, capfd):
    load_text_model(folder)
    assert capfd.readouterr().err == ""
