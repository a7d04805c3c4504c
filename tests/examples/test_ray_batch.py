"""`examples/ray_batch.py` on a Ray cluster of this machine: any number of workers, killed ones, and going on."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")
pytest.importorskip("pyarrow")

import pyarrow
import pyarrow.parquet
import ray
from PIL import Image

from tests.examples.conftest import EXAMPLES

pytestmark = pytest.mark.slow
ROWS = [{"prompt": "a cat", "seed": 3}, {"prompt": "a dog", "seed": None}, {"prompt": "x " * 500, "seed": 1},
        {"prompt": None, "seed": 0}, {"prompt": "a cat", "seed": -9}]  # fmt: skip


@pytest.fixture(scope="module")
def script(example):
    environment = {"PYTHONPATH": os.pathsep.join([str(EXAMPLES.parent), str(EXAMPLES)]), "OMP_NUM_THREADS": "1"}
    ray.init(num_cpus=2, include_dashboard=False, runtime_env={"env_vars": environment}, log_to_driver=False)
    yield example("ray_batch")
    ray.shutdown()


@pytest.fixture
def run(script, checkpoint_root, tmp_path, capsys):
    """The script with the tiny checkpoint; gives status, and the summary or what it said."""

    def run(file: Path, *flags: str, folder: str = "out") -> tuple[int, Any]:
        model = ("--model_path", str(checkpoint_root), "--device", "cpu", "--dtype", "float32")
        status = script.main(
            ["--prompts_file", str(file), "--output_dir", str(tmp_path / folder), "--batch_size", "1", *model, *flags]
        )
        said = capsys.readouterr().err
        return status, said if status else json.loads((tmp_path / folder / "summary.json").read_text())

    return run


def jsonl(folder: Path) -> Path:
    file = folder / "prompts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return file


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: Image.open(path).tobytes() for path in (folder / "pictures").iterdir()}


def test_two_workers_paint_what_one_paints_and_a_run_goes_on(run, tmp_path, pipeline):
    parquet = tmp_path / "prompts.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), parquet)
    assert run(jsonl(tmp_path), "--num_samples", "2", "--workers", "2")[0] == 0
    assert run(parquet, "--num_samples", "2", folder="one")[0] == 0
    found = pictures(tmp_path / "out")
    assert found == pictures(tmp_path / "one") and len(found) == 4
    manifest = (tmp_path / "out" / "manifest.jsonl").read_text()
    assert manifest == (tmp_path / "one" / "manifest.jsonl").read_text()
    lines = [json.loads(line) for line in manifest.splitlines()]
    painted = {(line["prompt"], line["seed"]): line["file"] for line in lines if "error" not in line}
    assert set(painted) == {("a cat", 3), ("a cat", 4), ("a dog", 0), ("a dog", 1)}
    assert found[painted["a dog", 1]] == pipeline("a dog", seed=1).images[0].tobytes()
    refused = {(line["prompt"][:5], line["seed"]): line["error"] for line in lines if "error" in line}
    assert set(refused) == {("x x x", 1), ("x x x", 2), ("", 0), ("", 1), ("a cat", -9), ("a cat", -8)}
    assert "500 tokens" in refused["x x x", 1] and "is empty" in refused["", 0] and "-9" in refused["a cat", -9]

    # As a killed run leaves it: a line is missing, another one is half written.
    kept = [line for line in manifest.splitlines() if json.loads(line)["file"] != painted["a cat", 3]]
    (tmp_path / "out" / "manifest.jsonl").write_text("\n".join(kept) + '\n{"file": "3')
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "pictures").iterdir()}
    status, summary = run(jsonl(tmp_path), "--num_samples", "2")
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "pictures").iterdir()}
    assert status == 0 and summary["painted"] == 1
    assert {name for name in before if before[name] != after[name]} == {painted["a cat", 3]}
    assert (tmp_path / "out" / "manifest.jsonl").read_text() == manifest and found == pictures(tmp_path / "out")
    assert run(jsonl(tmp_path), "--num_samples", "2")[1]["painted"] == 0


def test_a_killed_worker_loses_nothing(run, script, tmp_path, monkeypatch):
    killed = tmp_path / "killed"

    class Killed(script.Worker):
        def save(self, rows, images):
            if not killed.exists():
                killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            super().save(rows, images)

    monkeypatch.setattr(script, "Worker", Killed)
    status, summary = run(jsonl(tmp_path), "--workers", "2")
    assert status == 0 and killed.exists()
    assert summary["in_manifest"] == 5 and len(pictures(tmp_path / "out")) == 2


def test_what_does_not_fit_is_one_sentence(run, tmp_path):
    other = tmp_path / "other.jsonl"
    other.write_text('{"text": "a cat"}\n')
    assert "prompts_file must be a *.jsonl or *.parquet file that exists" in run(tmp_path / "none.jsonl")[1]
    assert "prompts_file must have a column `prompt`" in run(other)[1]
    assert "workers must be a whole number from 1, got 0" in run(other, "--workers", "0")[1]
    assert "output_dir must be empty or of the same settings" in run(other, "--cache", "ultra-fast")[1]
