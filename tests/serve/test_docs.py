"""What docs/serving.md and the Dockerfile say is so."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("hart.serve", exc_type=ImportError)
pytest.importorskip("openai")

from hart import HARTPipeline
from hart.serve.app import REFUSALS
from hart.serve.painter import Painter
from hart.serve.schemas import ImageRequest
from hart.serve.settings import ServiceSettings
from tests.serve.live import running

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)


def test_python_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace: dict = {}
    with running(Painter(HARTPipeline.from_pretrained(device="cpu", progress=False)), ServiceSettings()) as address:
        for source in blocks("python"):
            exec(source.replace("http://127.0.0.1:8000", address), namespace)
        namespace["client"].close()
    assert {path.name for path in tmp_path.iterdir()} == {"owl_1.png", "owl_2.png"}
    said = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert said == [line.split()[0] for line in blocks("text")[0].splitlines()]


def test_the_body_for_curl_is_a_request():
    (body,) = re.findall(r"-d '(.*)'$", GUIDE, re.MULTILINE)
    assert ImageRequest(**json.loads(body)).response_format == "url"


def test_the_file_of_settings_is_one():
    values = tomllib.loads(blocks("toml")[0])
    assert ServiceSettings(**values.pop("serve"), **values).time_limit == 60


def test_every_setting_field_and_status_is_named():
    named = set(re.findall(r"`(\w+)`", GUIDE))
    assert not (set(ServiceSettings.model_fields) | set(ImageRequest.model_fields)) - named
    assert not set(map(str, REFUSALS)) - set(re.findall(r"^\| .* \| (\d{3})\b.*\|$", GUIDE, re.MULTILINE))
    for flag in re.findall(r"`--(\w+) ", GUIDE):
        assert flag in {*ServiceSettings.model_fields, "settings"}, flag


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", GUIDE):
        assert (ROOT / "docs" / target).exists(), target


def test_the_dockerfile_names_what_is_there():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    for variable in re.findall(r"HART_(\w+)=", text):
        assert variable.lower() in ServiceSettings.model_fields
    pinned = re.findall(r"^torch==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert len(pinned) == 1 and "grep '^torch=='" in text
    entry = json.loads(re.findall(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)[0])
    assert entry == [".venv/bin/python", "-m", "hart.serve"]
    done = subprocess.run([sys.executable, *entry[1:], "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--queue_pictures" in done.stdout and "--api_key" not in done.stdout
