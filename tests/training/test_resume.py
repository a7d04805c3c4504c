"""Training that was interrupted goes on where it stopped."""

import json

import pytest
import torch

from hart.modules.models.autoencoder import HARTAutoEncoder, HARTAutoEncoderConfig
from training import latents, stream
from training.common import Log, last_seconds
from training.data import training_scenes


def test_the_log_counts_seconds_on(tmp_path):
    Log(tmp_path)(step=1)
    record = json.dumps({"step": 2, "seconds": 500.0})
    (tmp_path / "losses.jsonl").write_text(record + "\n")
    Log(tmp_path)(step=3)
    last = json.loads((tmp_path / "losses.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 3 and 500 <= last["seconds"] < 510


@pytest.fixture
def encoded(monkeypatch) -> list[int]:
    """Sizes of the batches that were encoded; a latent is its scene's row."""
    sizes: list[int] = []

    def encode(vae, scenes):
        sizes.append(len(scenes))
        return torch.tensor([latents.scene_to_row(scene) for scene in scenes]).half()

    monkeypatch.setattr(latents, "encode", encode)
    return sizes


def tiny_tokenizer(seed: int = 0) -> HARTAutoEncoder:
    torch.manual_seed(seed)
    return HARTAutoEncoder(HARTAutoEncoderConfig(z_channels=4, ch=32, ch_mult=(1,), v_patch_nums=(1, 2)))


def test_shards_that_are_there_are_not_encoded_again(tmp_path, encoded):
    scenes, vae = latents.chosen_scenes(places=1)[:25], tiny_tokenizer()
    latents.save_shards(vae, scenes, tmp_path, size=10)
    assert encoded == [10, 10, 5]
    (tmp_path / "0001.pt").unlink()
    latents.save_shards(vae.to(memory_format=torch.channels_last), scenes, tmp_path, size=10)
    assert encoded == [10, 10, 5, 10]
    values, found = latents.load_latents(vae, tmp_path)
    assert found == scenes
    assert values.tolist() == [latents.scene_to_row(scene) for scene in scenes]


def test_shards_of_other_scenes_are_replaced(tmp_path, encoded):
    scenes, vae = latents.chosen_scenes(places=1)[:40], tiny_tokenizer()
    latents.save_shards(vae, scenes[:30], tmp_path, size=10)
    latents.save_shards(vae, scenes[25:], tmp_path, size=10)
    assert latents.load_latents(vae, tmp_path)[1] == scenes[25:]


def test_shards_of_another_tokenizer_are_refused_and_replaced(tmp_path, encoded):
    scenes, retrained = latents.chosen_scenes(places=1)[:20], tiny_tokenizer(seed=1)
    latents.save_shards(tiny_tokenizer(), scenes, tmp_path, size=10)
    with pytest.raises(ValueError, match=r"0000\.pt' is by another tokenizer; run `python -m training\.latents` again"):
        latents.load_latents(retrained, tmp_path)
    latents.save_shards(retrained, scenes, tmp_path, size=10)
    assert encoded == [10] * 4 and latents.load_latents(retrained, tmp_path)[1] == scenes
    # A codebook of its own changes no latent.
    torch.nn.init.normal_(retrained.quantize.embedding.weight)
    latents.save_shards(retrained, scenes, tmp_path, size=10)
    assert encoded == [10] * 4


def test_shards_that_do_not_say_who_made_them_are_made_anew(tmp_path, encoded):
    scenes, vae = latents.chosen_scenes(places=1)[:10], tiny_tokenizer()
    latents.save_shards(vae, scenes, tmp_path)
    older = torch.load(tmp_path / "0000.pt")
    del older["encoder"]
    torch.save(older, tmp_path / "0000.pt")
    latents.save_shards(vae, scenes, tmp_path)
    assert encoded == [10, 10]


def test_a_single_file_of_all_latents_still_loads(tmp_path):
    scenes = latents.chosen_scenes(places=1)[:4]
    rows = torch.tensor([latents.scene_to_row(scene) for scene in scenes])
    torch.save({"latents": torch.zeros(4, 2), "rows": rows}, tmp_path / "latents.pt")
    values, found = latents.load_latents(tiny_tokenizer(), tmp_path / "latents", tmp_path / "latents.pt")
    assert values.shape == (4, 2) and found == scenes
    with pytest.raises(FileNotFoundError, match=r"run `python -m training\.latents` first"):
        latents.load_latents(tiny_tokenizer(), tmp_path / "latents", tmp_path / "nowhere.pt")


def test_reseeded_scenes_depend_on_seed_and_step(monkeypatch):
    scenes = training_scenes()[:6]
    monkeypatch.setattr(stream, "training_scenes", lambda: scenes)
    data, draws = stream.TrainingScenes(seed=0, big_share=0.5), []
    for step in (150, 300, 150):
        data.reseed(0, step)
        draws.append(data.batch(8))
    assert torch.equal(draws[0], draws[2]) and not torch.equal(draws[0], draws[1])


def test_a_log_line_cut_short_is_passed_over(tmp_path):
    lines = [json.dumps({"step": 1, "seconds": 70.0}), '{"step": 2, "sec']
    (tmp_path / "losses.jsonl").write_text("\n".join(lines))
    assert last_seconds(tmp_path / "losses.jsonl") == 70
