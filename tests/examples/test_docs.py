"""docs/scaling.md names files, flags and settings that are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")


def test_flags_are_those_of_the_scripts():
    service = (ROOT / "hart" / "serve" / "settings.py").read_text(encoding="utf-8")
    lines = re.findall(r"^\$ .*?(examples/\w+\.py)(.*)$", GUIDE, re.MULTILINE)
    assert {script for script, _ in lines} == {
        "examples/enhanced_inference.py", "examples/ray_batch.py", "examples/ray_serve.py",
    }  # fmt: skip
    for script, rest in lines:
        text = (ROOT / script).read_text(encoding="utf-8")
        for flag in re.findall(r"--(\w+)", rest):
            known = f'"--{flag}"' in text or (script.endswith("ray_serve.py") and f"{flag}:" in text + service)
            assert known, (script, flag)


def test_settings_of_replicas_are_named():
    text = (ROOT / "examples" / "ray_serve.py").read_text(encoding="utf-8")
    settings = re.findall(r"^    (\w+): \w+ = Field", text, re.MULTILINE)
    assert len(settings) == 5 and set(settings) <= set(re.findall(r"`(\w+)`", GUIDE))


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", GUIDE):
        assert (ROOT / "docs" / target).exists(), target
