"""What docs/demo.md says is so."""

import re
from pathlib import Path

import pytest

pytest.importorskip("pydantic_settings", reason="the demo's settings: pip install hart-stage-cache[demo]")

from hart.demo.settings import DemoSettings

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "demo.md").read_text(encoding="utf-8")


def test_its_pictures_are_there_and_small():
    named = set(re.findall(r"[\w-]+\.png", TEXT))
    assert named == {file.name for file in DOCS.glob("demo*.png")}
    assert all((DOCS / name).stat().st_size < 250_000 for name in named)


def test_its_flags_are_the_settings():
    flags = {flag for row in re.findall(r"^\| (`--.*?) \|", TEXT, re.MULTILINE) for flag in re.findall(r"--(\w+)", row)}
    assert flags == set(DemoSettings.model_fields)


def test_its_example_runs(capsys):
    (example,) = re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    exec(compile(example, "docs/demo.md", "exec"), {"__name__": "__main__"})
    assert len(capsys.readouterr().out.splitlines()) == 10
