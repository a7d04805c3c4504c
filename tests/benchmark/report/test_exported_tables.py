"""CSV and Markdown of results."""

import csv
import json

from hart.benchmark.report.exported_tables import csv_rows, markdown_table, write_csv
from hart.evaluation import ATTRIBUTES
from tests.benchmark.conftest import setting


def test_csv_has_every_figure_once(results_of, tmp_path):
    results = results_of(setting("no-cache", 1.0, 0.0, peak=1.0), setting("fast", 1.5, 0.1, 25.0, peak=0.9))
    with write_csv(results, tmp_path / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["setting"] for row in rows] == ["no-cache", "fast"]
    unmeasured = csv_rows(results_of(setting("no-cache", 1.0)))[0]
    assert unmeasured["peak_bytes"] is None and unmeasured["memory_method"] == "VmHWM"
    assert rows[0]["psnr"] == "" and float(rows[1]["psnr"]) == 25.0
    assert float(rows[1]["speed_up_q3"]) == 1.52 and float(rows[1]["stage_4_seconds"]) == 0.3
    assert list(rows[0]) == list(csv_rows(results)[0])
    assert [json.loads(row["config"]) for row in rows] == [one.config for one in results.settings]
    assert {f"shows_{name}" for name in ATTRIBUTES} < set(rows[0])


def test_markdown_puts_no_cache_first_and_then_the_fastest(results_of):
    lines = markdown_table(results_of(*(setting(n, s, 0.0) for n, s in (("no-cache", 1.0), ("b", 1.1), ("a", 1.4)))))
    names = [line.split("|")[1].strip() for line in lines.splitlines()[2:]]
    assert names == ["no-cache", "a", "b"]
    assert len({line.count("|") for line in lines.splitlines()}) == 1


def test_fidelity_has_columns_where_it_was_measured(results_of):
    lines = markdown_table(
        results_of(setting("no-cache", 1.0, 0.0, lost=0.0), setting("fast", 1.5, 0.1, 25.0, lost=1.25))
    ).splitlines()
    assert "| fidelity, dB (95%) | fidelity lost, dB (95%) | prompt score" in lines[0]
    assert "| 20.75 (19.75 to 21.75) | 1.25 (1.15 to 1.35) |" in lines[3]
    assert len({line.count("|") for line in lines}) == 1
    assert "fidelity" not in markdown_table(results_of(setting("no-cache", 1.0, 0.0)))
    row = csv_rows(results_of(setting("no-cache", 1.0, lost=0.0)))[0]
    assert (row["fidelity"], row["fidelity_lost_high"]) == (22, 0)
