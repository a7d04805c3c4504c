"""The report as text: all of it there, nothing from outside, nothing that a name or a gap could break."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="the report is drawn with matplotlib: pip install hart-stage-cache[benchmark]")
pytest.importorskip("jinja2", reason="the report is laid out with Jinja2: pip install hart-stage-cache[benchmark]")

from hart.benchmark.report import need_plots, write_report
from hart.benchmark.report.page import page
from hart.benchmark.results import Quality, Results
from tests.benchmark.report.example import PROMPTS, ROWS, example

VOID = {"meta", "link", "img", "br", "hr", "input"}
HOSTILE = "<script>alert(1)</script>\"'&{{ 7*7 }} $\\frac$ {% raw %} ]]> 猫"


class Reader(HTMLParser):
    """Reads a page; complains about tags that do not match."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data):
        self.words.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def results(folder) -> Results:
    return example(folder)


@pytest.fixture(scope="module")
def text(results, folder) -> str:
    return write_report(results, folder).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def reader(text) -> Reader:
    return Reader(text)


def few(results: Results, count: int = 3) -> Results:
    """A copy with the first settings only, quick to draw."""
    copy = results.model_copy(deep=True)
    copy.settings = copy.settings[:count]
    return copy


def test_the_report_lies_in_the_folder_alone(results, folder, text):
    assert sorted(path.name for path in folder.iterdir()) == ["pictures", "report.html"]


def test_the_answer_comes_first(reader):
    start = reader.text[: reader.text.index("Quality against speed")]
    for words in ("For speed", "For balance", "For quality", "For memory", "AMD EPYC 7B13", "100 pictures each"):
        assert words in start
    assert "plan at 1% drop 1.45" in start
    assert "no difference to no-cache that this run could tell from chance" in start
    assert "12.0 points less than no-cache" in start


def test_every_plot_is_there_in_both_widths(reader, text):
    plots = [attributes["id"] for attributes in reader.named("figure") if attributes.get("class") == "plot"]
    assert plots == ["frontier-score", "frontier-psnr", "times", "similarity", "computed", "hits", "thresholds"]
    assert len(reader.named("svg")) == 2 * len(plots)


def test_names_in_the_page_are_unique_and_links_lead_somewhere(reader):
    names = [attributes["id"] for _, attributes in reader.tags if attributes.get("id")]
    assert len(names) == len(set(names))
    links = [attributes.get("href") or "" for tag, attributes in reader.tags if tag in ("a", "use")]
    assert links
    assert set(links) <= {f"#{name}" for name in names}


def test_clip_paths_lead_somewhere(text):
    names = set(re.findall(r'<clipPath id="([^"]+)"', text))
    used = set(re.findall(r"url\(#([^)]+)\)", text))
    assert used
    assert used <= names


def test_pictures_and_differences_are_in_the_page_with_words_for_them(reader):
    images = reader.named("img")
    assert len(images) == 6 * len(ROWS) + 6 * (len(ROWS) - 1)
    assert all(image["alt"] and image["src"].startswith("data:image/webp;base64,") for image in images)
    assert PROMPTS[0] in images[0]["alt"]


def test_nothing_is_fetched(reader, text):
    sources = ("src", "href", "srcset", "data", "action", "poster")
    found = [attributes.get(name) or "" for _, attributes in reader.tags for name in sources if name in attributes]
    assert found
    assert all(source.startswith(("data:", "#")) for source in found)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert "default-src 'none'" in text


def test_the_table_has_a_row_per_setting(reader):
    assert len([tag for tag in reader.named("th") if tag.get("scope") == "row"]) == len(ROWS)
    for name, *_ in ROWS:
        assert name in reader.text


def test_the_same_results_give_the_same_page(results, folder):
    assert page(few(results), folder) == page(few(results), folder)


def test_hostile_names_and_prompts_stay_text(results, folder):
    hostile = few(results)
    hostile.settings[1].name = hostile.settings[2].why = hostile.command = HOSTILE
    hostile.settings[1].config = {"sim_path": HOSTILE}
    hostile.work.prompts = [HOSTILE] * 6
    hostile.recommendations[0].setting = HOSTILE
    written = page(hostile, folder)
    assert "<script>alert" not in written
    reader = Reader(written)
    assert len(reader.named("script")) == 1
    assert " ".join(HOSTILE.split()) in reader.text


def test_what_was_not_measured_is_called_so(results):
    bare = few(results)
    bare.similarity, bare.recommendations = None, []
    for setting in bare.settings:
        setting.quality, setting.folder, setting.computed, setting.hits = Quality(), None, {}, {}
        setting.memory.over_no_cache, setting.memory.peak_bytes = None, 0
    bare.machine.git_revision = None
    shown = Reader(page(bare, Path("nowhere"))).text
    assert shown.count("not measured") >= 6 * len(bare.settings[1:])
    for words in (
        "Quality was not measured in this run.",
        "Similarities were not measured in this run.",
        "Operations by stage were not counted in this run.",
        "No setting of this run skips a stage.",
        "There are no pictures beside these results.",
        "This run recommends nothing for it.",
        "not known",
    ):
        assert words in shown
    assert "0.0 dB" not in shown and "Peak memory 0 B" not in shown


def test_missing_and_broken_pictures_leave_gaps(results, folder, tmp_path):
    shutil.copytree(folder / "pictures", tmp_path / "pictures")
    lonely = few(results)
    (tmp_path / lonely.settings[1].folder / "00000.png").unlink()
    (tmp_path / lonely.settings[2].folder / "00001.png").write_bytes(b"no picture")
    reader = Reader(page(lonely, tmp_path))
    assert len([tag for tag in reader.named("div") if tag.get("class") == "hole"]) == 2
    assert len(reader.named("img")) == 6 + 5 * 2 + 5 * 2


def test_pictures_outside_the_folder_are_not_shown(results, folder, tmp_path):
    outside = few(results)
    for setting in outside.settings:
        setting.folder = str(folder / setting.folder)
    assert Reader(page(outside, tmp_path)).named("img") == []


def test_a_failed_write_leaves_the_old_report(results, tmp_path, monkeypatch):
    (tmp_path / "report.html").write_text("old")
    monkeypatch.setattr("hart.benchmark.report.page.page", lambda *_: "\ud800")
    with pytest.raises(UnicodeEncodeError):
        write_report(results, tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_missing_plots_name_the_extra(monkeypatch):
    monkeypatch.setattr("hart.benchmark.report.find_spec", lambda name: None if name == "matplotlib" else object())
    with pytest.raises(ImportError, match=r"pip install hart-stage-cache\[benchmark\]"):
        need_plots()
