"""Text files that are whole or not there."""

import os

import pytest
from pydantic import BaseModel

from hart.utils.files import read_record, write_whole


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
