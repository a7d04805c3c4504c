"""Every Python example of the README and the guide runs, in the order it is read."""

import re
import tomllib
from pathlib import Path

import pytest

from benchmarks import guide_tables
from hart.modules.cache.registries import EVICTIONS, INTERPOLATIONS, METRICS, SCHEDULES, SELECTORS

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "README_ENHANCED_CACHING.md")


def fenced(document: str, language: str) -> list[tuple[int, str]]:
    """Line number and text of every block of a language."""
    text = (ROOT / document).read_text(encoding="utf-8")
    blocks = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [(text.count("\n", 0, block.start(1)) + 1, block[1]) for block in blocks]


@pytest.fixture
def registries_as_before():
    """What the guide's examples register goes again."""
    registries = (EVICTIONS, INTERPOLATIONS, METRICS, SCHEDULES, SELECTORS)
    before = [set(registry.names()) for registry in registries]
    yield
    for registry, names in zip(registries, before, strict=True):
        for name in set(registry.names()) - names:
            registry.remove(name)


@pytest.mark.usefixtures("registries_as_before")
@pytest.mark.parametrize("document", DOCUMENTS)
def test_python_examples_run(document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace: dict = {"__name__": "__main__"}
    blocks = fenced(document, "python")
    assert blocks
    for line, source in blocks:
        # Empty lines in front, so that a traceback names the document's line.
        exec(compile("\n" * (line - 1) + source, str(ROOT / document), "exec"), namespace)


def test_the_guide_s_tables_are_those_of_the_recorded_runs():
    guide = (ROOT / "README_ENHANCED_CACHING.md").read_text(encoding="utf-8")
    assert guide_tables.filled(guide) == guide
    assert re.findall(r"<!-- table: (.*) -->", guide) == [title for title, _ in guide_tables.tables()]


def test_the_project_names_licences_and_what_training_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    assert project["license"] == "MIT AND CC-BY-4.0" and "CC-BY 4.0" in notice
    assert project["license-files"] == ["LICENSE", "NOTICE"]
    assert "torch>=2.9" in project["optional-dependencies"]["training"]  # torch.optim.Muon


def test_the_model_card_says_how_to_rebuild_the_model():
    card = (ROOT / "hart" / "assets" / "embedded" / "README.md").read_text(encoding="utf-8")
    assert '-e ".[training]"' in card and "npm" in card
    modules = set(re.findall(r"python -m (training\.\w+)", card))
    assert {
        "training.prepare_data",
        "training.train_tokenizer",
        "training.latents",
        "training.train_transformer",
    } <= modules
    for module in modules:
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").is_file(), module


def test_the_readme_has_two_commands():
    blocks = [source.strip() for _, source in fenced("README.md", "bash")]
    assert len(blocks) == 2 and all(len(block.splitlines()) == 1 for block in blocks)


@pytest.mark.parametrize("document", [*DOCUMENTS, "CHANGELOG.md"])
def test_links_lead_somewhere(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    headings = [re.sub(r"[^\w -]", "", heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)]
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif not target.startswith("https://"):
            assert (ROOT / target).exists(), target


def test_flags_that_documents_name_are_there():
    script = (ROOT / "examples" / "enhanced_inference.py").read_text(encoding="utf-8")
    for document in DOCUMENTS:
        text = (ROOT / document).read_text(encoding="utf-8")
        for line in re.findall(r"^.*enhanced_inference\.py.*$", text, re.MULTILINE):
            for flag in re.findall(r"--\w+", line.partition("enhanced_inference.py")[2].partition("`")[0]):
                assert f'"{flag}"' in script, flag
