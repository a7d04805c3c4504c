"""`examples/enhanced_inference.py` in several processes."""

import json

import pytest


@pytest.fixture
def run(example, checkpoint_root, tmp_path, monkeypatch):
    """The script as one process of several; gives its status."""
    script = example("enhanced_inference")

    def run(rank: int, world: int, folder: str, *flags: str) -> int:
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(world))
        prompts = ("--prompts", "a cat", "a dog", "a tree")
        model = ("--model_path", str(checkpoint_root), "--output_dir", str(tmp_path / folder), "--num_samples", "2")
        return script.main([*prompts, *model, *flags])

    return run


def test_two_processes_paint_what_one_paints(run, tmp_path):
    assert [run(0, 1, "one"), run(0, 2, "two"), run(1, 2, "two")] == [0, 0, 0]
    one = {path.name: path.read_bytes() for path in (tmp_path / "one").glob("0*.png")}
    two = {path.name: path.read_bytes() for path in (tmp_path / "two").glob("0*.png")}
    assert len(one) == 6 and one == two
    ranks = [json.loads((tmp_path / "two" / f"results_rank{rank}.json").read_text())["pictures"] for rank in (0, 1)]
    assert [len(pictures) for pictures in ranks] == [4, 2]
    assert [(entry["prompt"], entry["seed"]) for entry in ranks[1]] == [("a dog", 2), ("a dog", 3)]
    assert (tmp_path / "two" / "grid_rank1.png").is_file() and not (tmp_path / "two" / "results.json").exists()


def test_what_several_processes_cannot_do(run, capsys):
    assert run(0, 4, "out") == 2 and "WORLD_SIZE must be at most the number of prompts, 3" in capsys.readouterr().err
    assert run(0, 2, "out", "--benchmark") == 2 and "WORLD_SIZE must be 1 to calibrate" in capsys.readouterr().err
