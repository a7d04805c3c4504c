"""The scripts of `benchmarks/` as modules, and made-up results."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tests.benchmark.conftest import results_of, setting

FOLDER = Path(__file__).parents[2] / "benchmarks"
__all__ = ["results_of", "setting"]


def script(name: str) -> ModuleType:
    """`benchmarks/NAME.py`, imported."""
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def scaling() -> ModuleType:
    return script("scaling")


@pytest.fixture
def random_checkpoint() -> ModuleType:
    return script("random_checkpoint")
