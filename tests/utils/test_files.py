"""Files that are whole or not there."""

import os
import subprocess
import sys

import pytest
from pydantic import BaseModel

from hart.utils.files import check_target, read_json, read_lines, read_text, write_whole, written_beside
from hart.utils.records import read_record


class Point(BaseModel):
    x: int


def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_whole(path, "old")

    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_file_takes_the_place_of_the_old_one_only_when_it_is_whole(tmp_path):
    path = tmp_path / "a.bin"
    with written_beside(path) as unfinished:
        unfinished.write_bytes(b"old")
        assert not path.exists() and unfinished.parent == tmp_path
    with pytest.raises(KeyboardInterrupt), written_beside(path) as unfinished:
        unfinished.write_bytes(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_records_are_read_or_refused_in_one_sentence(tmp_path):
    path = tmp_path / "point.json"
    write_whole(path, '{"x": 3}')
    assert read_record(Point, path, "a point", "draw()") == Point(x=3)
    write_whole(path, '{"x": "far"}')
    with pytest.raises(ValueError, match=r"point.json' is not a point \(x: .*write one with draw\(\)\.$") as told:
        read_record(Point, path, "a point", "draw()")
    assert "\n" not in str(told.value)
    with pytest.raises(FileNotFoundError):
        read_record(Point, tmp_path / "none.json", "a point", "draw()")


def test_text_is_read_as_an_editor_shows_it(tmp_path):
    path, text = tmp_path / "a.txt", "über\u2028猫\n\n2\n"
    for content in (
        text.encode(),
        b"\xef\xbb\xbf" + text.encode(),
        text.encode("utf-16"),
        b"\xfe\xff" + text.encode("utf-16-be"),
        text.replace("\n", "\r\n").encode(),
        text.replace("\n", "\r").encode(),
    ):
        path.write_bytes(content)
        assert read_text(path) == text
        assert read_lines(path) == ["über\u2028猫", "", "2", ""]
    path.write_bytes(b"\xff\x00")
    with pytest.raises(ValueError, match=r"a.txt' is not UTF-8 text"):
        read_text(path)


def test_the_locale_does_not_matter(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": "ü"}', encoding="utf-8")
    code = f"from hart.utils.files import read_json, read_text; assert read_json({str(path)!r}) == {{'a': '\\xfc'}}"
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000])
def test_what_is_no_json_is_named(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match=r"a.json' is not JSON \(") as told:
        read_json(tmp_path / "a.json")
    assert "\n" not in str(told.value)


def test_a_target_is_tried_before_the_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert check_target("a.json", "result") == tmp_path / "a.json"
    assert check_target(tmp_path / ("n" * 250), "result").name == "n" * 250
    write_whole(tmp_path / ("n" * 255), "as long as a name may be")
    for path, sentence in (
        (".", r"result must be a file, got the folder '\.'"),
        (
            "missing/a.json",
            r"result must be a file in a folder that exists, got 'missing/a.json'; make '.*missing'",
        ),
        ("n" * 256, r"result 'n+' cannot be written: File name too long"),
        ("/proc/a.json", r"result '/proc/a.json' cannot be written: "),
    ):
        with pytest.raises(OSError, match=sentence):
            check_target(path, "result")
    assert [file.name for file in tmp_path.iterdir()] == ["n" * 255]


def test_a_write_that_fails_names_the_file_that_was_asked_for(tmp_path):
    with pytest.raises(OSError, match=r"missing/a.json' cannot be written: No such file") as told:
        write_whole(tmp_path / "missing" / "a.json", "text")
    assert ".tmp" not in str(told.value)


def test_permissions_stay(tmp_path):
    path = tmp_path / "secret"
    write_whole(path, "old")
    path.chmod(0o600)
    write_whole(path, "new")
    assert path.read_text() == "new" and path.stat().st_mode & 0o777 == 0o600
