"""`examples/enhanced_inference.py`: what it writes, and what it refuses without writing anything."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import hart.pipeline
import hart.pipeline.folders
from hart.modules.models.transformer import generation

SCRIPT = Path(__file__).parents[2] / "examples" / "enhanced_inference.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("enhanced_inference", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(script, checkpoint_root, tmp_path, capsys):
    """The script with the tiny checkpoint and an output folder; gives status, output and error."""

    def run(*flags: str, model_path: object = checkpoint_root) -> tuple[int, str, str]:
        model = ["--model_path", str(model_path)] if model_path else []
        try:
            status = script.main([*model, "--output_dir", str(tmp_path / "out"), *flags])
        except SystemExit as stopped:
            status = stopped.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_pictures_grid_and_results_are_written_and_told(run, tmp_path):
    flags = ("--num_samples", "2", "--seed", "7", "--dtype", "fp32")
    status, out, err = run("--prompts", "a big red cat", "the dog", *flags)
    assert status == 0 and "40/40" in err
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [(entry["prompt"], entry["seed"]) for entry in results["pictures"]] == [
        ("a big red cat", 7), ("a big red cat", 8), ("the dog", 9), ("the dog", 10),
    ]  # fmt: skip
    files = [entry["file"] for entry in results["pictures"]]
    assert files[0] == "000_a-big-red-cat_seed7.png"
    assert {file.name for file in (tmp_path / "out").iterdir()} == {*files, "grid.png", "results.json"}
    assert all(Image.open(tmp_path / "out" / file).size == (128, 128) for file in files)
    assert Image.open(tmp_path / "out" / "grid.png").width > 2 * 256
    assert results["settings"]["dtype"] == "float32" and results["settings"]["guidance_scale"] == 4.5
    assert set(results["versions"]) == {"hart", "torch", "transformers", "python"}
    assert len(results["seconds"]["stages"]) == 10 and results["seconds"]["loading"] > 0
    for name in (str(tmp_path / "out"), *files, "grid.png", "results.json"):
        assert name in out


def test_a_strip_of_stages_per_picture(run, tmp_path):
    status, out, _ = run("--prompts", "a cat", "a dog", "a tree", "--batch_size", "2", "--stages")
    assert status == 0
    entries = json.loads((tmp_path / "out" / "results.json").read_text())["pictures"]
    for entry in entries:
        strip = Image.open(tmp_path / "out" / entry["stages_file"]).convert("RGB")
        assert strip.width > 10 * 128 and entry["stages_file"] in out
        # The last preview is the picture; a strip has 8 pixels of white around each.
        last = strip.crop((strip.width - 8 - 128, 8, strip.width - 8, 8 + 128))
        assert last.tobytes() == Image.open(tmp_path / "out" / entry["file"]).tobytes()


def test_without_arguments_the_samples_of_the_embedded_model(run, checkpoint_root, monkeypatch, tmp_path):
    monkeypatch.setattr(hart.pipeline.folders, "embedded_model_path", lambda: checkpoint_root / "llm")
    # The tiny text model knows other words and reads fewer of them.
    monkeypatch.setattr(hart, "sample_prompts", lambda: ["a cat", "a dog", "a tree", "a lamp"])
    assert run(model_path=None)[0] == 0
    assert len(list((tmp_path / "out").glob("00?_*.png"))) == 4


def test_prompts_from_a_file(run, tmp_path):
    (tmp_path / "prompts.txt").write_text("a cat\n\n  a dog  \n")
    assert run("--prompts_file", str(tmp_path / "prompts.txt"))[0] == 0
    assert {file.name for file in (tmp_path / "out").glob("00*")} == {"000_a-cat_seed0.png", "001_a-dog_seed1.png"}


@pytest.mark.parametrize("flag", ["--tokenizer_path", "--text_model_path"])
def test_both_names_of_the_text_model_flag(script, flag):
    assert script.build_parser().parse_args([flag, "/x"]).text_model_path == "/x"


PROMPT = ("--prompts", "a cat")
BAD_INPUT = {
    "unknown flag": (("--promts", "a cat"), r"unrecognized arguments: --promts a cat"),
    "abbreviated flag": (("--prompt", "a cat"), r"unrecognized arguments"),
    "two sources": ((*PROMPT, "--prompts_file", "x"), r"not allowed with argument"),
    "no prompt": (("--prompts",), r"argument --prompts: expected at least one argument"),
    "text that no file has": (("--prompts", "a \udc80"), r"prompt 0 must be text that UTF-8 can hold"),
    "empty prompt": (("--prompts", "a cat", " "), r"prompt 1 must be a text that shows something"),
    "long prompt": (("--prompts", "a cat " * 9), r"has 18 tokens; allowed are 12"),
    "missing file": (("--prompts_file", "/nowhere.txt"), r"prompts file '/nowhere.txt' does not exist; give a text"),
    "folder as file": (("--prompts_file", "/proc"), r"prompts file '/proc' is a folder; allowed is a text file"),
    "missing model": ((*PROMPT, "--model_path", "/nowhere"), r"model path '/nowhere' is not a folder"),
    "missing text model": ((*PROMPT, "--tokenizer_path", "/nowhere"), r"text model folder '/nowhere' does not exist"),
    "negative seed": ((*PROMPT, "--seed", "-1"), r"argument --seed: "),
    "no samples": ((*PROMPT, "--num_samples", "0"), r"--num_samples: it is '0'; allowed is a whole number from 1"),
    "no batch": ((*PROMPT, "--batch_size", "x"), r"--batch_size: it is 'x'; allowed is a whole number from 1"),
    "guidance": ((*PROMPT, "--cfg_scale", "nan"), r"--cfg_scale: it is 'nan'; allowed is a finite number from 0"),
    "device": ((*PROMPT, "--device", "gpu"), r"device is 'gpu'; allowed are cpu"),
    "dtype": ((*PROMPT, "--dtype", "int8"), r"dtype is 'int8'; allowed are float32"),
    "unwritable": ((*PROMPT, "--output_dir", "/proc/hart/x"), r"output folder '/proc/hart/x' cannot be written to"),
    "file in the way": ((*PROMPT, "--output_dir", str(SCRIPT)), r"enhanced_inference.py' is a file"),
}


@pytest.mark.parametrize("flags, sentence", BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_is_one_sentence_and_status_2(run, tmp_path, flags, sentence):
    before = sorted(tmp_path.iterdir())
    status, out, err = run(*flags)
    assert status == 2 and out == ""
    assert len(err.strip().splitlines()) == 1 and "Traceback" not in err
    assert re.search(sentence, err), err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("flags", [(), ("--calibrate",), ("--compare_configs", "original-cache")])
def test_a_long_prompt_is_one_line_also_where_warnings_are_shown(checkpoint_root, tmp_path, flags):
    done = command_line(checkpoint_root, tmp_path, "--prompts", "a cat " * 9, *flags)
    assert done.returncode == 2 and done.stdout == "" and list(tmp_path.iterdir()) == []
    assert len(done.stderr.splitlines()) == 1 and "has 18 tokens; allowed are 12" in done.stderr


@pytest.mark.parametrize("flags, times", [((), 1), (("--disable_attn_cache",), 1), (("--benchmark",), 2)])
def test_prompts_are_encoded_for_painting_and_for_what_is_measured(run, script, monkeypatch, flags, times):
    calls, encode = [], hart.pipeline.HARTPipeline.encode
    monkeypatch.setattr(
        hart.pipeline.HARTPipeline, "encode", lambda self, prompts: calls.append(prompts) or encode(self, prompts)
    )
    assert run(*PROMPT, *flags)[0] == 0
    assert calls == [["a cat"]] * times


@pytest.mark.parametrize("flags, size", [((), 1), (("--batch_size", "3"), 3)])
def test_the_results_tell_the_batch_size(run, tmp_path, flags, size):
    assert run(*PROMPT, "--device", "cpu", *flags)[0] == 0
    assert json.loads((tmp_path / "out" / "results.json").read_text())["settings"]["batch_size"] == size


def test_empty_and_binary_files_are_refused(run, tmp_path):
    file = tmp_path / "prompts.txt"
    for content, sentence in ((b"\n \n", "is empty; write one prompt a line"), (b"\xff\xfe\x00", "is not UTF-8 text")):
        file.write_bytes(content)
        status, _, err = run("--prompts_file", str(file))
        assert status == 2 and sentence in err
    assert list(tmp_path.iterdir()) == [file]


def test_a_failure_half_way_leaves_nothing(run, tmp_path, script, monkeypatch):
    def fail(*arguments: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(script, "versions", fail)
    status, _, err = run(*PROMPT)
    assert status == 2 and err.strip().endswith("no space left")
    assert list(tmp_path.iterdir()) == []


def test_without_prompts_a_checkpoint_paints_general_ones(run, script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "GENERAL_PROMPTS", ("a cat", "a dog"))  # the tiny text model reads few words
    assert run()[0] == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [entry["prompt"] for entry in results["pictures"]] == ["a cat", "a dog"]
    assert script.is_embedded(str(hart.embedded_model_path())) and not script.is_embedded("someone/hart")


def test_guidance_is_the_models_own_unless_it_is_given(run, checkpoint_root, tmp_path):
    root = shutil.copytree(checkpoint_root, tmp_path / "checkpoint")
    (root / "llm" / "generation_config.json").write_text('{"guidance_scale": 1.5}')
    for flags, expected in (((), 1.5), (("--cfg_scale", "3"), 3.0)):
        assert run(*PROMPT, *flags, model_path=root)[0] == 0
        settings = json.loads((tmp_path / "out" / "results.json").read_text())["settings"]
        assert settings["guidance_scale"] == expected and settings["threads"] == torch.get_num_threads()


def test_names_of_other_scripts_do_not_overwrite_each_other(run, tmp_path):
    for prompt in ("猫", "犬", "!?"):
        assert run("--prompts", prompt)[0] == 0
    names = {file.name for file in (tmp_path / "out").glob("000_*")}
    assert {"000_猫_seed0.png", "000_犬_seed0.png"} < names and len(names) == 3


def test_ctrl_c_keeps_the_pictures_that_are_finished(run, tmp_path, monkeypatch):
    seen, generate, before = [], generation.generate, signal.getsignal(signal.SIGINT)

    def interrupted(model, inputs):
        seen.append(inputs)
        if len(seen) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return generate(model, inputs)

    monkeypatch.setattr(generation, "generate", interrupted)
    status, out, _ = run("--prompts", "a cat", "a dog", "a tree", "a lamp", "--batch_size", "1", "--stages")
    assert status == 130 and "interrupted: the other pictures are missing" in out and len(seen) == 3
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["interrupted"] and [entry["prompt"] for entry in results["pictures"]] == ["a cat", "a dog"]
    assert len(list((tmp_path / "out").glob("*.png"))) == 2 * 2 + 1
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_before_the_first_picture_leaves_nothing(run, tmp_path, script, monkeypatch):
    def fail(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(script, "paint", fail)
    status, out, err = run(*PROMPT)
    assert status == 130 and out == "" and "interrupted before a picture was finished; nothing was written" in err
    assert list(tmp_path.iterdir()) == []


def test_a_calibrated_folder_can_be_moved(run, tmp_path):
    assert run(*PROMPT, "--cache_preset", "original-cache", "--calibrate")[0] == 0
    (tmp_path / "out").rename(tmp_path / "moved")
    assert run(*PROMPT, "--custom_cache_config", str(tmp_path / "moved" / "cache_config.json"))[0] == 0


def command_line(checkpoint_root: Path, folder: Path, *flags: str, **variables: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parents[1])} | variables
    command = [sys.executable, str(SCRIPT), "--model_path", str(checkpoint_root), *flags]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_from_the_command_line(checkpoint_root, tmp_path):
    done = command_line(checkpoint_root, tmp_path, *PROMPT)
    assert done.returncode == 0, done.stderr
    assert f"in {tmp_path / 'outputs'}:" in done.stdout
    assert (tmp_path / "outputs" / "grid.png").is_file()


def test_a_closed_pipe_is_no_error(checkpoint_root, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parents[1])}
    command = f"{sys.executable} {SCRIPT} --model_path {checkpoint_root} --prompts 'a cat' | true"
    done = subprocess.run(
        command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (tmp_path / "outputs" / "grid.png").is_file() and "Broken" not in done.stderr


def test_letters_that_the_locale_lacks(checkpoint_root, tmp_path):
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    (tmp_path / "prompts.txt").write_text("\ufeffa cat ü\n", encoding="utf-8")
    done = command_line(checkpoint_root, tmp_path, "--prompts_file", "prompts.txt", **environment)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "outputs" / "results.json").read_text(encoding="utf-8"))
    assert results["pictures"][0]["prompt"] == "a cat ü"
