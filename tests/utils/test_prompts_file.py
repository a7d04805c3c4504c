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
