"""Every Python example of the documents runs; their links, tables, flags and sentences are checked."""

import re
import tomllib
from pathlib import Path

import pytest

from benchmarks import guide_tables
from examples.enhanced_inference import build_parser as script_parser
from hart.benchmark.__main__ import build_parser as benchmark_parser
from hart.modules.cache.registries import EVICTIONS, INTERPOLATIONS, METRICS, SCHEDULES, SELECTORS

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    "README.md",
    "README_ENHANCED_CACHING.md",
    "CONTRIBUTING.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
)
WORDS_PER_SENTENCE = 30
RUN_ELSEWHERE = ("docs/demo.md", "docs/scaling.md", "docs/serving.md")  # tests/demo and tests/serve do
PUBLISHED_FLAG = "--prompt_list"  # of the published code, in the list of differences


def fenced(document: str, language: str) -> list[tuple[int, str]]:
    """Line number and text of every block of a language."""
    text = (ROOT / document).read_text(encoding="utf-8")
    blocks = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [(text.count("\n", 0, block.start(1)) + 1, block[1]) for block in blocks]


@pytest.fixture
def registries_as_before():
    """What the examples register goes again."""
    registries = (EVICTIONS, INTERPOLATIONS, METRICS, SCHEDULES, SELECTORS)
    before = [set(registry.names()) for registry in registries]
    yield
    for registry, names in zip(registries, before, strict=True):
        for name in set(registry.names()) - names:
            registry.remove(name)


@pytest.mark.usefixtures("registries_as_before")
@pytest.mark.parametrize(
    "document", [name for name in DOCUMENTS if name not in RUN_ELSEWHERE and fenced(name, "python")]
)
def test_python_examples_run(document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace: dict = {"__name__": "__main__"}
    blocks = fenced(document, "python")
    assert blocks
    for line, source in blocks:
        # Empty lines in front, so that a traceback names the document's line.
        exec(compile("\n" * (line - 1) + source, str(ROOT / document), "exec"), namespace)


def test_tables_are_those_of_the_recorded_runs():
    titles = []
    for path in guide_tables.DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        assert guide_tables.filled(text) == text, path.name
        titles += re.findall(r"<!-- table: (.*) -->", text)
    assert titles == [title for title, _ in guide_tables.tables()]


def test_no_other_document_has_a_recorded_table():
    filled = {path.relative_to(ROOT).as_posix() for path in guide_tables.DOCUMENTS}
    for document in set(DOCUMENTS) - filled:
        assert "<!-- table:" not in (ROOT / document).read_text(encoding="utf-8"), document


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


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", without_code(path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", [*DOCUMENTS, "CHANGELOG.md"])
def test_links_lead_somewhere(document):
    path = ROOT / document
    for target in re.findall(r"\]\(([^)]+)\)", without_code(path.read_text(encoding="utf-8"))):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        linked = path.parent / file if file else path
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def sentences(text: str) -> list[str]:
    """Sentences of a document, without code blocks, tables, headings, marks and the targets of links."""
    text = re.sub(r"<!--.*?-->", "", without_code(text), flags=re.DOTALL)
    text = re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "code", text))
    lines = ["" if line.lstrip().startswith(("|", "#")) else line for line in text.splitlines()]
    paragraphs = re.split(r"\n\s*\n|\n\s*(?:[-*>]|\d+\.)\s", "\n".join(lines))
    return [s for part in paragraphs for s in re.split(r"(?<=[.!?:])\s+", " ".join(part.split())) if s]


def test_sentences_are_told_apart():
    text = "# Heading\n\nOne sentence. Two\nhere: a list\n- three `code with words`\n\n| a table |\n\n```\ncode.\n```\n"
    assert sentences(text) == ["One sentence.", "Two here:", "a list", "three code"]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_sentences_are_short(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    long = [sentence for sentence in sentences(text) if len(sentence.split()) > WORDS_PER_SENTENCE]
    assert not long, long


def test_flags_that_documents_name_are_there():
    parsers = {"enhanced_inference.py": script_parser(), "hart.benchmark": benchmark_parser()}
    for document in set(DOCUMENTS) - set(RUN_ELSEWHERE):  # whose flags those tests check
        text = (ROOT / document).read_text(encoding="utf-8").replace("\\\n", " ")
        for name, parser in parsers.items():
            for line in re.findall(rf"^.*{re.escape(name)} .*$", text, re.MULTILINE):
                for flag in re.findall(r"--[\w-]+", line.partition(name)[2].partition("`")[0]):
                    assert flag in parser._option_string_actions, (document, flag)
        other = (ROOT / "benchmarks" / "random_checkpoint.py").read_text(encoding="utf-8")
        for flag in set(re.findall(r"`(--[\w-]+)", text)) - {PUBLISHED_FLAG}:
            known = any(flag in parser._option_string_actions for parser in parsers.values())
            assert known or f'"{flag}"' in other, (document, flag)
