"""The scripts that time painting, on the CPU with a tiny checkpoint."""

import json

import pytest
import torch
from matrix_peak import matrix_product_peak

from tests.scripts.conftest import script

PARTS = {"text", "diffusion_head", "decoder", "total", "stages"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without CUDA")
def test_without_cuda_eager_is_measured_on_the_cpu_and_said(checkpoint_root, tmp_path, capsys):
    table, path = script("gpu_table"), tmp_path / "table.json"
    flags = ["--model_path", str(checkpoint_root), "--dtype", "float32", "--batches", "1", "2", "--repeats", "1"]
    assert table.main([*flags, "--output", str(path)]) == 0
    assert table.NO_CUDA in capsys.readouterr().err
    found = json.loads(path.read_text())
    (eager,) = found["modes"]
    assert found["note"] == table.NO_CUDA and (eager["mode"], eager["failed"]) == ("eager", None)
    assert [row["batch"] for row in eager["rows"]] == [1, 2]
    one, two = eager["rows"]
    assert two["blocks_gflop"] == pytest.approx(2 * one["blocks_gflop"], abs=0.2)
    assert 0 < one["share_of_peak_all_in"] <= one["share_of_peak"] < 1
    assert eager["latency_seconds"] == one["seconds"] and eager["best_batch"] in (1, 2)


def test_a_mode_that_fails_says_why_and_leaves_the_model_as_it_was(checkpoint_root, monkeypatch):
    table = script("gpu_table")
    pipe = table.HARTPipeline.from_pretrained(checkpoint_root, dtype="float32", device="cpu", progress=False)

    def broken(model, **options):
        assert options == {"mode": "reduce-overhead"}
        for block in model.blocks:
            block.attention_branch = block.mlp_branch = lambda *_: (_ for _ in ()).throw(
                RuntimeError("no graphs\nhere")
            )

    monkeypatch.setattr(table, "compile_branches", broken)
    found = table.measure_mode(pipe, "cuda_graphs", [1, 2], 1, 1.0)
    assert found["failed"] == "batch 1: RuntimeError: no graphs" and found["rows"] == []
    assert table.measure(pipe, 1, 1, 1.0)["seconds"] > 0


def test_seconds_by_part(checkpoint_root, capsys):
    script("paint_time").main(["--model_path", str(checkpoint_root), "--dtype", "float32", "--repeats", "1"])
    found = json.loads(capsys.readouterr().out)
    assert set(found["seconds"]) == PARTS and found["transformer_gflop"] > 0
    assert found["matrix_product_peak_gflop_per_second"] > found["transformer_gflop_per_second"] > 0


def test_peak_of_a_device():
    assert matrix_product_peak(torch.device("cpu"), torch.float32, repeats=2, size=64) > 0
