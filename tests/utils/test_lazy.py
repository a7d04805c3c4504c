"""`hart.utils` imports what it offers on first use only."""

import subprocess
import sys
from pathlib import Path

import pytest

import hart.utils


def test_importing_the_package_pulls_in_nothing_heavy():
    code = "import sys, hart, hart.utils; sys.exit(bool({'torch', 'transformers', 'PIL', 'numpy'} & set(sys.modules)))"
    root = Path(hart.utils.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


@pytest.mark.parametrize("name", hart.utils.__all__)
def test_every_offered_name_is_there(name):
    assert name in dir(hart.utils)
    assert getattr(hart.utils, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"no attribute 'encode_promts'"):
        hart.utils.encode_promts  # noqa: B018
