"""Prompts from a text file, and the sentences that say what is wrong with one."""

import re

import pytest

from hart.utils.prompts_file import read_prompts_file


def test_a_prompt_is_a_line_that_is_not_blank(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("a cat\n\n  a fox, \N{CJK UNIFIED IDEOGRAPH-732B} \r\n", encoding="utf-8")
    assert read_prompts_file(path) == ["a cat", "a fox, \N{CJK UNIFIED IDEOGRAPH-732B}"]


@pytest.mark.parametrize(
    ("content", "words", "sentence"),
    [
        (b"\n \n", (), "prompts_file PATH has no prompt; allowed is a text with one prompt a line."),
        (b"", ("text", "is empty; write one prompt a line"), "text PATH is empty; write one prompt a line."),
        (b"\xff\xfe\x00", (), "prompts_file PATH is not UTF-8 text ("),
    ],
)
def test_what_holds_no_prompt_is_refused_in_the_words_of_the_caller(tmp_path, content, words, sentence):
    path = tmp_path / "prompts.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(sentence.replace("PATH", repr(str(path))))):
        read_prompts_file(path, *words)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^prompts_file '.*nowhere.txt' does not exist; give a text file"):
        read_prompts_file(tmp_path / "nowhere.txt")
    with pytest.raises(ValueError, match=r"^text '.*' is a folder; allowed is a text file with one prompt a line\.$"):
        read_prompts_file(tmp_path, "text")


def test_a_file_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    def refuse(*arguments: object, **options: object) -> str:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "prompts.txt"
    path.write_text("a cat")
    monkeypatch.setattr(type(path), "read_bytes", refuse)
    with pytest.raises(OSError, match=r"^prompts_file '.*prompts.txt' cannot be read \(Permission denied\)\.$"):
        read_prompts_file(path)
