"""Which exports replace what ships."""

import json
import re
from dataclasses import asdict

import numpy as np
import pytest
import torch

from hart.evaluation.fidelity import Fidelity
from hart.pipeline.settings import DEFAULTS
from tests.training.toys import transformer_training
from training import export_transformer
from training.assemble import Sampling, sampling_of
from training.budget import Budget
from training.export_transformer import judge_and_install
from training.judge import Judging, Verdict, judge, may_replace
from training.pieces import read_facts

CAPTIONS = ("a 3d fox on a white background", "a flat owl on a green background", "a 3d owl on a blue background")


def judged(psnr: list[float]) -> Fidelity:
    values = np.array(psnr)
    return Fidelity(CAPTIONS, values, None, np.ones(3), values, None)


@pytest.mark.parametrize(
    ("new", "shipped", "replaces", "reason"),
    [
        (None, [18.0, 19, 20], False, "does not load"),
        (None, None, False, "does not load"),
        ([18.0, 19, 20], None, True, "What ships does not paint"),
        ([18.0, 19, 20], [18.0, 19, 20], True, "no worse"),
        ([22.0, 19, 20], [18.0, 19, 20], True, r"better by 1\.33 dB on 3"),
        ([18.0, 19, 19.7], [18.0, 19, 20], False, r"worse than what ships by 0\.10 dB"),
        ([18.0, 19, float("nan")], [18.0, 19, 20], False, "worse"),
    ],
)
def test_the_rule(new, shipped, replaces, reason):
    verdict = may_replace(new and judged(new), shipped and judged(shipped))
    assert verdict.replaces is replaces
    assert re.search(reason, verdict.reason)


def test_an_export_that_does_not_load_replaces_nothing(tmp_path):
    training = transformer_training(tmp_path / "run")
    training.save(Budget(steps=1), {})
    piece = tmp_path / "run" / read_facts(tmp_path / "run")["pieces"][0]
    piece.write_bytes(b"broken")
    report, verdict = judge(tmp_path / "run", Sampling(), Judging(pictures=1), torch.device("cpu"))
    assert not verdict.replaces and "must be a file of weights" in report["error"]


@pytest.mark.parametrize("replaces", [True, False])
def test_only_what_may_replace_is_installed(tmp_path, monkeypatch, replaces):
    training = transformer_training(tmp_path / "run")
    training.save(Budget(steps=1), {})
    monkeypatch.setattr(export_transformer, "judge", lambda *given: ({"x": 1}, Verdict(replaces, "Told so.")))
    folder, sampling = tmp_path / "package", Sampling(guidance_scale=2.0)
    (folder / "llm").mkdir(parents=True)
    (folder / "llm" / "old").touch()
    judge_and_install(tmp_path / "run", sampling, Judging(), torch.device("cpu"), wanted=True, folder=folder)
    assert read_facts(tmp_path / "run")["verdict"] == {"replaces": replaces, "reason": "Told so."}
    if not replaces:
        assert [file.name for file in folder.rglob("*")] == ["llm", "old"]
        return
    assert sorted(file.name for file in folder.iterdir()) == ["llm", "text_encoder"]
    assert not (folder / "llm" / "old").exists() and sampling_of(folder / "llm") == sampling


def test_sampling_is_the_pipeline_s_own_without_a_file(tmp_path):
    assert asdict(sampling_of(tmp_path)) == DEFAULTS
    stored = asdict(Sampling(top_k=7)) | {"transformers_version": "5"}
    (tmp_path / "generation_config.json").write_text(json.dumps(stored))
    assert sampling_of(tmp_path) == Sampling(top_k=7)
