"""What a run writes is small, few and whole, whenever it is stopped."""

import pytest
import torch

from training import pieces
from training.pieces import MANIFEST, MOST_PIECES, load_export, read_facts, save_export, split


def weights(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    floats = {f"layer{index}": torch.randn(10, 10, generator=generator) for index in range(4)}
    return floats | {"count": torch.tensor([seed])}


def test_an_export_comes_back(tmp_path):
    save_export(tmp_path, weights(1), {"step": 7, "note": "x"}, limit=500)
    tensors, facts = load_export(tmp_path)
    assert facts["step"] == 7 and facts["note"] == "x" and len(facts["pieces"]) == 2
    for name, value in weights(1).items():
        assert tensors[name].dtype == value.dtype
        torch.testing.assert_close(tensors[name], value, rtol=1e-3, atol=1e-4)
    assert load_export(tmp_path / "nowhere") is None


def test_files_stay_small_and_few(tmp_path):
    for step in range(3):
        save_export(tmp_path, weights(step), {"step": step}, limit=500)
        files = list(tmp_path.iterdir())
        assert len(files) == 1 + 2 and all(file.stat().st_size < 1500 for file in files)
    assert pieces.PIECE_BYTES + 2**16 < 16 * 2**20 and MOST_PIECES + 3 <= 8


def test_what_does_not_fit_is_refused_before_training():
    large = {"wide": torch.zeros(300)}
    with pytest.raises(ValueError, match="every tensor must be at most 500 bytes, got 1200 of wide"):
        split(large, limit=500)
    with pytest.raises(ValueError, match=f"weights must fit in {MOST_PIECES} files"):
        split({str(index): torch.zeros(100) for index in range(MOST_PIECES + 1)}, limit=400)


@pytest.mark.parametrize("broken", ["weights-0000002-1.safetensors", MANIFEST])
def test_a_stop_in_the_middle_leaves_the_older_export(tmp_path, monkeypatch, broken):
    save_export(tmp_path, weights(1), {"step": 1}, limit=500)
    written_beside = pieces.written_beside

    def stops(target):
        if target.name == broken:
            raise OSError("no space left on device")
        return written_beside(target)

    monkeypatch.setattr(pieces, "written_beside", stops)
    monkeypatch.setattr(pieces, "write_whole", lambda target, text: stops(target))
    with pytest.raises(OSError, match="no space left"):
        save_export(tmp_path, weights(2), {"step": 2}, limit=500)
    tensors, facts = load_export(tmp_path)
    assert facts["step"] == 1 and tensors["count"].item() == 1
    monkeypatch.undo()
    save_export(tmp_path, weights(3), {"step": 3}, limit=500)
    assert {file.name for file in tmp_path.iterdir()} == {MANIFEST, *read_facts(tmp_path)["pieces"]}


def test_weights_that_are_not_finite_do_not_replace_good_ones(tmp_path):
    save_export(tmp_path, weights(1), {"step": 1})
    with pytest.raises(ValueError, match="weights must be finite, got others in layer2"):
        save_export(tmp_path, weights(2) | {"layer2": torch.tensor([float("nan")])}, {"step": 2})
    assert load_export(tmp_path)[1]["step"] == 1


def test_a_broken_export_is_named(tmp_path):
    save_export(tmp_path, weights(1), {"step": 1})
    piece = tmp_path / read_facts(tmp_path)["pieces"][0]
    piece.write_bytes(piece.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"weights-0000001-0.safetensors' must be a file of weights"):
        load_export(tmp_path)
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(ValueError, match=r"export.json' must be a JSON object"):
        load_export(tmp_path)
