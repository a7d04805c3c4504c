"""The comparison with another revision runs, at toy size, this tree on both sides."""

import json
import math

import pytest

from tests.scripts.conftest import script

SIDE = {"seconds": 2.0, "peak_bytes": 3e6}


@pytest.fixture(scope="module")
def against():
    return script("against_revision")


def test_two_workers_take_turns(against, tmp_path):
    path = against.checkpoint("toy", tmp_path)
    found = against.compare([against.ROOT, against.ROOT], path, "float32", repeats=2, threads=1)
    assert [len(side) for side in found["seconds"]] == [2, 2]
    assert math.isclose(found["ratio"], found["revision"]["seconds"] / found["this_tree"]["seconds"], abs_tol=1e-3)
    assert all(found[side]["peak_bytes"] > 2**20 for side in ("revision", "this_tree"))
    json.dumps(found)


def test_the_table_names_models_times_and_memory(against):
    row = {"model": "toy", "dtype": "float32", "ratio": 1.5, "revision": SIDE, "this_tree": SIDE | {"seconds": 1.333}}
    last = against.table([row], "abc").splitlines()[-1]
    assert last == "| toy | float32 | 2.000 | 1.333 | 1.50x | 3, 3 |"


def test_a_worker_that_ends_is_an_error(against, monkeypatch, tmp_path):
    monkeypatch.setattr(against, "WORKER", "import sys; sys.exit(3)")
    with pytest.raises(RuntimeError, match=r"ended with 3"):
        against.Worker(tmp_path, "", "float32", 1)


def test_files_are_there_whole(against, monkeypatch, tmp_path):
    monkeypatch.setattr(against, "checked_out", lambda revision: against.tempfile.TemporaryDirectory())
    monkeypatch.setattr(against, "compare", lambda *_: {"ratio": 1.0, "revision": SIDE, "this_tree": SIDE})
    against.main(["a/b", "--models", "embedded", "--dtypes", "float32", "--out", str(tmp_path / "out")])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["against_a_b.json", "against_a_b.md"]
    report = json.loads((tmp_path / "out" / "against_a_b.json").read_text())
    assert report["revision"] == "a/b" and report["rows"][0]["model"] == "embedded"
