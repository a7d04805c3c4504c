"""One process at a time in a folder."""

import subprocess
import sys
from contextlib import nullcontext

import pytest

from hart.utils.locks import only_user

ENTER = "import sys; from hart.utils.locks import only_user\nwith only_user(sys.argv[1], 'output_dir'): "


def elsewhere(folder, then: str = "pass") -> subprocess.Popen:
    command = [sys.executable, "-c", ENTER + then, str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_second_process_is_refused_until_the_first_has_ended(tmp_path):
    with only_user(tmp_path / "out", "output_dir"):
        with only_user(tmp_path / "out", "output_dir"):  # the same process may enter again
            pass
        told = elsewhere(tmp_path / "out").communicate()[1]
        assert "output_dir must be a folder that no other process writes to, got " in told
    assert elsewhere(tmp_path / "out").wait() == 0
    assert not (tmp_path / "out").exists()


def test_a_killed_process_leaves_the_folder_free(tmp_path):
    other = elsewhere(tmp_path, "print('in', flush=True); sys.stdin.read()")
    assert other.stdout.readline() == "in\n"
    with pytest.raises(ValueError, match="no other process writes to"), only_user(tmp_path, "output_dir"):
        pass
    other.kill()
    other.communicate()
    with only_user(tmp_path, "output_dir"), nullcontext():
        assert (tmp_path / ".lock").is_file()
