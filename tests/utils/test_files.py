"""Files that are whole or not there."""

import os

import pytest
from pydantic import BaseModel

from hart.utils.files import write_whole, written_beside
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
