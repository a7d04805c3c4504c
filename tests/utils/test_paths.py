"""Where a checkpoint's tokenizer is looked for."""

import logging

import pytest

from hart.utils.paths import tokenizer_folder


@pytest.fixture
def tokenizer(tmp_path):
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "config.json").write_text("{}")
    return tmp_path / "tokenizer"


def test_the_configured_folder_comes_first(tokenizer, tmp_path, caplog):
    tokenizer.rename(tmp_path / "other")
    assert tokenizer_folder(tmp_path / "llm", str(tmp_path / "other")) == tmp_path / "other"
    assert not caplog.records


def test_a_configured_folder_that_does_not_exist_gives_way_to_the_sibling(tokenizer, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        assert tokenizer_folder(tmp_path / "llm", "/of/another/machine") == tokenizer
    assert "vae_path '/of/another/machine' has no config.json" in caplog.text


def test_neither_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"vae_path '/nowhere' has no config\.json and .*tokenizer"):
        tokenizer_folder(tmp_path / "llm", "/nowhere")
    with pytest.raises(FileNotFoundError, match="sibling of `llm`"):
        tokenizer_folder(tmp_path / "llm")
