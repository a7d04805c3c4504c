"""Fixtures that more than one folder of tests needs."""

import shutil
from pathlib import Path

import pytest

from tests.golden import FIXTURES


@pytest.fixture(scope="session")
def checkpoint_root(tmp_path_factory) -> Path:
    """A tiny checkpoint in the published layout, with a text model and a system prompt; its pictures are noise."""
    root = tmp_path_factory.mktemp("checkpoint")
    for source, target in (("llm", "llm"), ("tokenizer", "tokenizer"), ("text_model", "text_encoder")):
        shutil.copytree(FIXTURES / source, root / target)
    (root / "system_prompt.txt").write_text("please generate an image description of User Prompt :")
    return root
