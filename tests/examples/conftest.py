"""The example scripts as modules, under the names by which their own processes find them."""

import importlib
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="session")
def example():
    """Gives an example script as a module."""
    sys.path.insert(0, str(EXAMPLES))
    yield importlib.import_module
    sys.path.remove(str(EXAMPLES))


@pytest.fixture(scope="session")
def pipeline(checkpoint_root):
    from hart import HARTPipeline

    return HARTPipeline.from_pretrained(checkpoint_root, dtype="float32", device="cpu", progress=False)
