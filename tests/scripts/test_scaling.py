"""Seconds and memory against tokens, on made-up results."""

import json

import pytest
from PIL import Image

from benchmarks import guide_tables
from tests.benchmark.conftest import setting


@pytest.fixture
def files(results_of, tmp_path):
    """Three pyramids of 5, 20 and 80 tokens; seconds grow with their square."""
    paths = []
    for size in (4, 1, 2):
        run = results_of(setting("no-cache", 1 / size**4, peak=float(size)), setting(f"only-{size}", 1.0))
        run.settings.append(setting("fast", 2 / size**4, peak=float(size)))
        run.work.patch_nums, run.work.checkpoint = [size, 2 * size], f"random-{size}"
        paths.append(tmp_path / f"{size}.json")
        run.to_json(paths[-1])
    return paths


def test_a_line_per_setting_that_runs_share(scaling, files, tmp_path):
    assert scaling.main([*map(str, files), "--output_dir", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out/scaling.json").read_text())
    assert [run["tokens"] for run in found["runs"]] == [5, 20, 80] and found["not_the_same"] == []
    plain, fast = found["settings"]
    assert (plain["name"], fast["name"]) == ("no-cache", "fast")
    assert [point["seconds"] for point in plain["points"]] == [1.0, 16.0, 256.0]
    assert plain["seconds_exponent"] == fast["seconds_exponent"] == 2.0
    assert fast["peak_gib_exponent"] == pytest.approx(0.5, abs=0.02) and fast["points"][0]["seconds"] == 0.5
    assert Image.open(tmp_path / "out/scaling.png").width > 1000


def test_the_guide_has_an_empty_cell_where_a_size_was_not_measured(scaling, files, tmp_path, monkeypatch):
    smallest = json.loads(files[1].read_text())
    smallest["settings"] = [one for one in smallest["settings"] if one["name"] != "fast"]
    files[1].write_text(json.dumps(smallest))
    assert scaling.main([*map(str, files), "--output_dir", str(tmp_path)]) == 0
    monkeypatch.setattr(guide_tables, "RUNS", tmp_path)
    plain, fast = guide_tables.scaling_table().splitlines()[2:]
    assert plain.startswith("| no-cache | 1.00 s, ") and fast.startswith("| fast |  | 8.00 s, ")
    assert plain.count("|") == fast.count("|")


def test_what_is_not_the_same_is_said(scaling, files, tmp_path, capsys):
    content = json.loads(files[1].read_text())
    content["machine"]["cores"] = 64
    files[1].write_text(json.dumps(content))
    assert scaling.main([*map(str, files), "--output_dir", str(tmp_path)]) == 0
    assert "not the same in all runs: cores: 2 and 64" in capsys.readouterr().err


def test_bad_input_gets_one_sentence(scaling, files, tmp_path, capsys):
    assert scaling.main([str(files[0]), str(files[0])]) == 2
    assert "allowed are at least two runs, each of another pyramid" in capsys.readouterr().err
    assert scaling.main([str(tmp_path / "none.json")]) == 2
    assert "none.json" in capsys.readouterr().err
