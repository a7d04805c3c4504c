"""What the report shows of fidelity, where a run has it."""

import pytest

pytest.importorskip("matplotlib")

from hart.benchmark.report import text as words
from hart.benchmark.report.frontier import fidelity_frontier
from hart.benchmark.report.page import page
from hart.benchmark.report.table import price, table_columns, table_rows
from hart.benchmark.results import Interval
from tests.benchmark.conftest import setting


@pytest.fixture
def judged(results_of):
    return results_of(setting("no-cache", 1.0, 0.0, lost=0.0), setting("fast", 1.5, 0.1, 25.0, lost=1.25))


def test_the_table_and_the_cards_begin_with_it(judged, results_of):
    columns, rows = table_columns(judged), table_rows(judged)
    place = columns.index("Fidelity lost")
    assert columns[place - 1 : place + 2] == ["Fidelity", "Fidelity lost", "Prompt score"]
    assert rows[0].cells[place].text == "reference" and len(rows[0].cells) == len(columns)
    assert (rows[1].cells[place].text, rows[1].cells[place].below) == ("1.25 dB", "1.15 to 1.35 dB")
    assert next(iter(price(judged.settings[1]))) == "Fidelity lost"
    elsewhere = results_of(setting("no-cache", 1.0, 0.0))
    assert not {"Fidelity", "Fidelity lost"} & {*table_columns(elsewhere), *price(elsewhere.settings[0])}
    assert len(table_rows(elsewhere)[0].cells) == len(table_columns(elsewhere))


def test_the_frontier_shows_what_is_lost_below_no_cache(judged, results_of):
    plot = fidelity_frontier(judged)
    assert "Not beaten in both: no-cache (1.00×, 0.0), fast (1.50×, -1.2)" in plot.alt  # noqa: RUF001
    assert fidelity_frontier(results_of(setting("no-cache", 1.0, 0.0))) is None


def test_the_page_says_it(judged, tmp_path):
    text = page(judged, tmp_path)
    assert text.index("Fidelity lost against speed-up") < text.index("Prompt score against speed-up")
    assert "1.25 dB" in text


@pytest.mark.parametrize(
    ("low", "value", "high", "said"),
    [
        (0, 0, 0, "fidelity of no-cache itself"),
        (-0.1, 0.05, 0.2, "no loss of fidelity that this run could tell from chance (interval -0.10 to 0.20 dB)"),
        (0.5, 0.75, 1, "0.75 dB of fidelity lost against no-cache (interval 0.50 to 1.00 dB)"),
        (-0.9, -0.5, -0.1, "0.50 dB of fidelity gained against no-cache (interval -0.90 to -0.10 dB)"),
    ],
)
def test_a_loss_within_its_interval_is_called_so(low, value, high, said):
    assert words.loss_in_words(Interval(value=value, low=low, high=high)) == said
