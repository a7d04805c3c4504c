"""`python -m hart.system_prompt`: the published text, from a clone that is parsed and never run."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hart.system_prompt import find_system_prompt, main
from hart.utils import load_system_prompt

TEXT = 'Say "what" is\nseen\\here: '


@pytest.fixture
def clone(tmp_path) -> Path:
    """A clone whose files would fail, and leave a trace, if they were imported."""
    package = tmp_path / "clone" / "hart" / "utils"
    package.mkdir(parents=True)
    (package / "llm.py").write_text(
        f"import nowhere\nopen({str(tmp_path / 'run')!r}, 'w')\nllm_system_prompt = {TEXT!r}\nother = 'x'\n"
    )
    (package / "old.py").write_text("print 'python 2'\n")
    (package / "latin.py").write_bytes(b"\xe9 = 1\n")
    return tmp_path / "clone"


@pytest.mark.parametrize("part", ["", "llm"])
def test_the_text_is_written_as_the_clone_has_it(clone, checkpoint_root, tmp_path, capsys, part):
    checkpoint = shutil.copytree(checkpoint_root, tmp_path / "checkpoint")
    assert main([str(clone), str(checkpoint / part)]) == 0
    assert load_system_prompt(checkpoint) == TEXT
    assert str(checkpoint / "system_prompt.txt") in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "source", ["llm_system_prompt: str = 'a b'", "llm_system_prompt = 'a ' + 'b'", "llm_system_prompt = ('a '\n  'b')"]
)
def test_other_ways_to_write_a_text(tmp_path, source):
    (tmp_path / "a.py").write_text(f"{source}\nllm_system_prompt = make()\nother.llm_system_prompt = 'c'\n")
    assert find_system_prompt(tmp_path) == "a b"


def test_what_cannot_be_found_is_one_sentence(clone, checkpoint_root, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for arguments, sentence in (
        ((tmp_path / "nowhere", checkpoint_root), "PUBLISHED_CLONE must be a folder, got"),
        ((tmp_path / "empty", checkpoint_root), "PUBLISHED_CLONE must hold a Python file that assigns a text to"),
        ((clone, tmp_path / "empty"), "CHECKPOINT must be a folder that holds llm/config.json"),
    ):
        assert main([str(argument) for argument in arguments]) == 2
        told = capsys.readouterr()
        assert sentence in told.err and len(told.err.splitlines()) == 1 and told.out == ""


def test_two_texts_are_not_chosen_between(clone):
    (clone / "other.py").write_text("llm_system_prompt = 'another'\n")
    with pytest.raises(ValueError, match=r"must be one text, got different ones in '.*llm.py', '.*other.py'"):
        find_system_prompt(clone)


def test_it_runs_without_torch():
    code = "import sys; sys.modules['torch'] = None; from hart.system_prompt import main; main(['--help'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "PUBLISHED_CLONE" in done.stdout
