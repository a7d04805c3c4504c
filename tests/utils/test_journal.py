"""Lines that outlive a kill, and whose they are."""

import pytest

from hart.utils.journal import OtherRunError, append_line, same_run, whole_lines


def test_a_torn_last_line_is_left_out(tmp_path):
    path = tmp_path / "lines.jsonl"
    assert whole_lines(path) == []
    append_line(path, "one")
    append_line(path, "two")
    with path.open("a") as file:
        file.write("thr")
    assert whole_lines(path) == ["one\n", "two\n"]


def test_a_file_is_of_one_work(tmp_path):
    path = tmp_path / "run.json"
    begun = same_run(path, {"seed": 0, "code": "a"})
    assert same_run(path, {"seed": 0, "code": "b"}, ignored=["code"]) == begun
    with pytest.raises(OtherRunError, match="seed is 0 there and 1 here"):
        same_run(path, {"seed": 1, "code": "a"})
