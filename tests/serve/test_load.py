"""A small run of the load test, and the program from start to signal."""

import pytest

pytest.importorskip("hart.serve", exc_type=ImportError)
pytest.importorskip("openai")

from tests.serve import load


def test_clients_beyond_the_queue_get_429_and_then_their_pictures(checkpoint_root, capsys, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    flags = ["--model_path", str(checkpoint_root), "--device", "cpu", "--dtype", "float32"]
    queue = ["--queue_pictures", "2", "--max_n", "1"]
    status = load.main(["--requests", "12", "--clients", "4", "--prompts", "a cat", *flags, *queue])
    said = capsys.readouterr().out
    assert status == 0, said
    assert "'200': 12" in said and "'429': " in said and "no fault" in said


def test_faults_are_told():
    outcome = load.Outcome(wrong=2, memory=[100, 100, 100, 150])
    outcome.statuses.update({"200": 3, "500": 1, "429": 4})
    assert outcome.faults(0.1) == [
        "errors: {'500': 1}", "2 pictures are not those of their seed", "memory grew by 50%",
    ]  # fmt: skip
