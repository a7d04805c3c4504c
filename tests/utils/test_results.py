"""Output folders that are complete or not there."""

import json

import pytest

from hart.utils import finished_folder, save_json


def test_files_appear_at_the_end_and_others_stay(tmp_path):
    target = tmp_path / "a" / "b"
    target.mkdir(parents=True)
    (target / "old.txt").write_text("old")
    (target / "new.txt").write_text("before")
    with finished_folder(target) as folder:
        (folder / "new.txt").write_text("after")
        assert (target / "new.txt").read_text() == "before"
    assert {file.name: file.read_text() for file in target.iterdir()} == {"old.txt": "old", "new.txt": "after"}
    assert [folder.name for folder in target.parent.iterdir()] == ["b"]


@pytest.mark.parametrize("exists", [True, False])
def test_the_temporary_folder_lies_in_the_target_where_that_exists(tmp_path, exists):
    """A mount point cannot be renamed into from outside, and its parent may be read-only."""
    target = tmp_path / "a"
    if exists:
        target.mkdir()
    with finished_folder(target) as folder:
        assert folder.parent == (target if exists else tmp_path)
        (folder / "x").write_text("")
    assert [file.name for file in target.iterdir()] == ["x"]
    assert list(tmp_path.iterdir()) == [target]


def test_after_an_exception_a_folder_that_was_there_is_as_before(tmp_path):
    (tmp_path / "old").write_text("")
    with pytest.raises(RuntimeError), finished_folder(tmp_path) as folder:
        (folder / "x").write_text("half")
        raise RuntimeError
    assert [file.name for file in tmp_path.iterdir()] == ["old"]


def test_missing_parents_are_made(tmp_path):
    with finished_folder(tmp_path / "a" / "b" / "c") as folder:
        save_json({"é": 1}, folder / "x.json")
    assert json.loads((tmp_path / "a" / "b" / "c" / "x.json").read_text(encoding="utf-8")) == {"é": 1}


def test_after_an_exception_nothing_is_left(tmp_path):
    with pytest.raises(RuntimeError), finished_folder(tmp_path / "a" / "b") as folder:
        (folder / "x").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", [".", "b"])
def test_a_file_in_the_way_is_named(tmp_path, below):
    (tmp_path / "taken").write_text("")
    with pytest.raises(NotADirectoryError, match=r"taken' is a file"), finished_folder(tmp_path / "taken" / below):
        pass


def test_a_place_that_cannot_be_written_to_is_named():
    with pytest.raises(OSError, match=r"output folder '/proc/hart/x' cannot be written to"):  # noqa: SIM117
        with finished_folder("/proc/hart/x"):
            pass
