"""The command line: what it writes, and what bad input gets."""

import json
import subprocess
import sys

import pytest
import torch

from hart.benchmark import __main__ as program
from hart.benchmark.prompt_files import read_prompt_files
from hart.benchmark.results import Results
from hart.utils.locks import only_user
from tests.benchmark.conftest import setting

PAINT = ["--prompts_file", "PROMPTS", "--num_pictures", "1", "--batch_size", "1", "--dtype", "float32"]


@pytest.fixture
def flags(checkpoint_root, tmp_path):
    (tmp_path / "prompts.txt").write_text("a cat\n\n")
    given = [str(tmp_path / "prompts.txt") if flag == "PROMPTS" else flag for flag in PAINT]
    return ["--checkpoint", str(checkpoint_root), *given, "--output_dir", str(tmp_path / "out")]


def test_one_command_measures_and_writes(flags, tmp_path, caplog):
    caplog.set_level("INFO")
    export = ["--export", "hps", str(tmp_path / "hps")]
    assert program.main([*flags, "--settings", "peer/stop-early-2", *export]) == 0
    results = Results.from_json(tmp_path / "out/results.json")
    assert [setting.name for setting in results.settings] == ["no-cache", "peer/stop-early-2"]
    assert "--settings peer/stop-early-2" in results.command
    assert results.settings[1].memory.over_no_cache == pytest.approx(1, abs=0.2)
    assert {entry.goal for entry in results.recommendations} == {"speed", "balance", "quality", "memory"}
    assert (tmp_path / "out/results.csv").is_file() and (tmp_path / "hps/prompts/custom.json").is_file()
    assert "| no-cache |" in caplog.text and "wrote " in caplog.text
    assert (
        program.main([*flags, "--settings", "peer/stop-early-2", "--against", str(tmp_path / "out/results.json")]) == 0
    )
    assert "| seconds here | seconds there |" in caplog.text
    assert set(json.loads((tmp_path / "out/memory.json").read_text())) == {"no-cache", "peer/stop-early-2"}


@pytest.mark.parametrize(
    "given, sentence",
    [
        (["--settings", "fastvar"], "unknown setting 'fastvar', nearest to it is 'peer/fastvar'"),
        (["--sweep", "treshold=1"], "unknown field to sweep 'treshold'"),
        (["--export", "geneva", "x"], "unknown tool to export to 'geneva', nearest to it is 'geneval'"),
        (["--num_pictures", "0"], "num_pictures is 0; allowed is a whole number from 1"),
        (["--files", "missing.json"], "missing.json"),
    ],
)
def test_bad_input_gets_one_sentence(flags, given, sentence, caplog):
    assert program.main([*flags, *given]) == program.BAD_INPUT
    assert sentence in caplog.messages[-1] and "\n" not in caplog.messages[-1]


@pytest.mark.parametrize(
    "error, status, sentence",
    [
        (KeyboardInterrupt(), program.INTERRUPTED, "interrupted: what was finished is in"),
        (torch.OutOfMemoryError("CUDA out of memory"), 1, "out of memory: one picture at a time is too much"),
        (OSError(28, "No space left on device"), 1, "No space left on device: what was finished is in"),
    ],
)
def test_stopped_runs_say_how_to_go_on(flags, error, status, sentence, tmp_path, caplog, monkeypatch):
    def stop(*_):
        raise error

    monkeypatch.setattr(program, "measure", stop)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "batches.jsonl").write_text("")
    assert program.main(flags) == status
    assert sentence in caplog.text
    goes_on = "the same command goes on from there" in caplog.text
    assert goes_on != isinstance(error, RuntimeError)  # what had no room has none again


def test_where_nothing_was_finished_nothing_is_promised(flags, tmp_path, caplog, monkeypatch):
    def stop(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(program, "measure", stop)
    assert program.main(flags) == 1
    assert caplog.messages[-1] == "[Errno 30] Read-only file system." and not (tmp_path / "out").exists()
    (tmp_path / "taken").write_text("")
    assert program.main([*flags[:-1], str(tmp_path / "taken")]) == 1
    assert "taken" in caplog.messages[-1] and "goes on" not in caplog.messages[-1]


def test_a_second_benchmark_in_one_folder_is_refused(flags, tmp_path):
    code = f"import sys; from hart.benchmark.__main__ import main; sys.exit(main({flags!r}))"
    with only_user(tmp_path / "out", "output_dir"):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == program.BAD_INPUT
    assert "output_dir must be a folder that no other process writes to" in done.stderr


def test_help_and_bad_flags_need_no_torch():
    code = "import sys; sys.modules['torch'] = None; from hart.benchmark.__main__ import main; main(sys.argv[1:])"
    for flags, status, words in ((["--help"], 0, "--output_dir"), (["--seed", "-1"], 2, "argument --seed: it is '-1'")):
        done = subprocess.run([sys.executable, "-c", code, *flags], capture_output=True, text=True, check=False)
        assert done.returncode == status and words in done.stdout + done.stderr, done.stderr


def test_a_stopped_run_names_its_results_once_there_are_some(tmp_path):
    assert "--report" not in program.go_on_words(tmp_path)
    (tmp_path / "results.json").write_text("{}")
    assert f"--report {str(tmp_path / 'results.json')!r} shows it" in program.go_on_words(tmp_path)


def test_prompts_beyond_the_number_of_pictures_are_warned_of(tmp_path, caplog):
    (tmp_path / "prompts.txt").write_text("a cat\na dog\na cow\n")
    given = ["--prompts_file", str(tmp_path / "prompts.txt"), "--num_pictures"]
    assert len(program.work_request(program.build_parser().parse_args([*given, "2"])).prompts) == 3
    assert caplog.messages == ["--num_pictures is 2: of 3 prompts the first are painted."]
    caplog.clear()
    program.work_request(program.build_parser().parse_args([*given, "3"]))
    assert not caplog.messages


def test_reports_are_drawn_again_without_painting(results_of, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(program, "measure", lambda *_: pytest.fail("measures"))
    results_of(setting("no-cache", 1.0, 0.0), setting("fast", 1.5, 0.0)).to_json(tmp_path / "results.json")
    caplog.set_level("INFO")
    assert program.main(["--report", str(tmp_path / "results.json")]) == 0
    assert (tmp_path / "report.html").is_file() and (tmp_path / "results.csv").is_file()
    assert "| fast |" in caplog.text
    assert program.main(["--report", str(tmp_path / "none.json")]) == program.BAD_INPUT


def test_a_run_that_no_report_could_show_does_not_begin(flags, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("hart.benchmark.report.find_spec", lambda name: None)
    monkeypatch.setattr("hart.pipeline.HARTPipeline.from_pretrained", lambda *_, **__: pytest.fail("loads the model"))
    assert program.main(flags) == program.BAD_INPUT
    assert "matplotlib, jinja2, scikit-image, not installed here; run `pip install" in caplog.messages[-1]
    assert not (tmp_path / "out").exists()


def test_empty_prompts(tmp_path):
    (tmp_path / "none.txt").write_text("\n")
    with pytest.raises(ValueError, match="has no prompt; allowed is a text with one prompt a line"):
        read_prompt_files([tmp_path / "none.txt"])


def test_unknown_flags_get_one_sentence(capsys):
    with pytest.raises(SystemExit) as stopped:
        program.main(["--setings", "x"])
    assert stopped.value.code == program.BAD_INPUT and "unrecognized arguments" in capsys.readouterr().err
