"""One command from artwork to a judged export, at toy size."""

import json
import os
import shutil
import signal
from dataclasses import replace

import pytest

from tests.training.toys import PEAK_SIZE, SETTINGS, SIZES, noise_latents, transformer_training
from training import all as command
from training.assemble import Sampling, assemble
from training.common import EMBEDDED
from training.loop import Training
from training.pieces import add_facts, load_export, read_facts

STEP_FIELDS = {"step", "share", "cross_entropy", "diffusion", "samples_per_second", "peak_share", "seconds"}


@pytest.fixture(autouse=True)
def quick_peak(monkeypatch):
    run = Training.run
    monkeypatch.setattr(Training, "run", lambda self, *given, **named: run(self, *given, peak_size=PEAK_SIZE, **named))


def records(folder):
    return [json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()]


def arguments(tmp_path, steps: int, *more: str) -> list[str]:
    sizes = [text for name, value in SIZES.items() for text in (f"--{name}", str(value))]
    given = ["--device", "cpu", "--steps", str(steps), "--out", str(tmp_path / "out"), "--judged", "2"]
    encoded = ["--latents", str(tmp_path / "latents"), "--scenes", "4", "--log_every", "1"]
    return [*given, *encoded, *sizes, *more]


def test_encode_train_judge_export_and_go_on(tmp_path, capsys):
    out = tmp_path / "out"
    command.main(arguments(tmp_path, 2, "--pictures", "2", "--late_stages", "1"))
    first = records(out)
    assert "Trained from scratch" in first[0]["start"]
    assert set(first[1]) == STEP_FIELDS and len(first[1]["cross_entropy"]) == 10
    assert first[1]["samples_per_second"] > 0 and first[1]["peak_share"] > 0
    assert first[-1]["ended"] and set(first[-1]["held_out"]) == {"cross_entropy", "entropy", "diffusion"}
    facts = read_facts(out)
    assert not facts["verdict"]["replaces"] and "worse than what ships" in facts["verdict"]["reason"]
    assert {"held-out", "training", "left_out", "shipped"} <= set(facts["judged"])
    assert facts["judged"]["held-out"]["fidelity"]["psnr"]["value"] > 0
    files = list(out.iterdir())
    assert len(files) <= 8 and all(file.is_file() and file.stat().st_size < 16 * 2**20 for file in files)

    # The same folder goes on, with more to do.
    command.main(arguments(tmp_path, 3, "--pictures", "0"))
    assert [record["step"] for record in records(out) if record.get("ended")] == [2, 3]
    assert read_facts(out)["step"] == 3
    assemble(out, tmp_path / "folders", Sampling())
    assert (tmp_path / "folders" / "llm" / "generation_config.json").is_file()


def test_a_run_asked_to_stop_exports_and_says_that_it_has_not_ended(tmp_path, monkeypatch):
    training = transformer_training(tmp_path / "run")
    backward = training.backward

    def asked(share):
        if training.step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return backward(share)

    monkeypatch.setattr(training, "backward", asked)
    assert not training.run(steps=50)
    assert training.stopped and load_export(tmp_path / "run")[1]["step"] == training.step == 2
    again = transformer_training(tmp_path / "run")
    assert again.step == 2 and again.run(steps=3) and again.step == 3


def test_minutes_end_a_run_and_pieces_add_up(tmp_path):
    training = transformer_training(tmp_path / "run")
    assert not training.run(minutes=60, piece_minutes=1e-6)
    assert 0 < read_facts(tmp_path / "run")["training_seconds"] < 600
    assert transformer_training(tmp_path / "run").run(minutes=1e-6)


def test_a_full_disk_costs_an_export_and_not_the_run(tmp_path, monkeypatch):
    training = transformer_training(tmp_path / "run")
    failures = iter([True, False, False, False])

    def save_export(*given):
        if next(failures):
            raise OSError("no space left on device")

    monkeypatch.setattr("training.loop.save_export", save_export)
    assert training.run(steps=2, save_minutes=0)
    assert any(record.get("not_exported") == "no space left on device" for record in records(tmp_path / "run"))


def test_another_size_in_the_same_folder_is_refused(tmp_path):
    noise_latents(tmp_path / "latents")
    transformer_training(tmp_path / "run").run(steps=1)
    for other in (replace(SETTINGS, embed_dim=64), replace(SETTINGS, depth=2)):
        with pytest.raises(ValueError, match=r"the shape of hart\.blocks\.[01]\..* must be .* name another folder"):
            transformer_training(tmp_path / "run", settings=other)


def test_another_world_in_the_same_folder_is_refused(tmp_path):
    transformer_training(tmp_path / "run").run(steps=1)
    add_facts(tmp_path / "run", vocabulary=["<pad>", "<unk>", "fox"])
    with pytest.raises(ValueError, match="out must be a run that knows today's words"):
        transformer_training(tmp_path / "run")


def test_more_pictures_than_scenes_are_refused_before_training(tmp_path):
    with pytest.raises(ValueError, match="num_pictures is 5000"):
        command.main(arguments(tmp_path, 2, "--pictures", "5000"))
    assert not (tmp_path / "out").exists()


def test_a_run_trains_its_own_tokenizer_first(tmp_path, monkeypatch):
    def export(run, folder, device):
        shutil.copytree(EMBEDDED / "tokenizer", folder)

    class Tokenizer:
        def __init__(self, settings, folder, device, compiled):
            folder.mkdir(parents=True)

        def run(self, minutes):
            return minutes == 3

    monkeypatch.setattr(command, "TokenizerTraining", Tokenizer)
    monkeypatch.setattr(command, "export_tokenizer", export)
    command.main(arguments(tmp_path, 1, "--pictures", "0", "--tokenizer_minutes", "3", "--start", "shipped"))
    assert "Trained from scratch" in records(tmp_path / "out")[0]["start"]
    assemble(tmp_path / "out", tmp_path / "folders", Sampling())
    assert (tmp_path / "folders" / "tokenizer" / "config.json").is_file()
    assert not (tmp_path / "out" / "tokenizer_run").exists()
