"""A checkpoint's own defaults: `generation_config.json`."""

import json
import shutil

import pytest
import torch

from hart import HARTPipeline
from hart.pipeline.settings import DEFAULTS, read_generation_config


@pytest.fixture
def root(checkpoint_root, tmp_path):
    return shutil.copytree(checkpoint_root, tmp_path / "other")


def load(path) -> HARTPipeline:
    return HARTPipeline.from_pretrained(path, dtype="float32", device="cpu", progress=False)


def painted(pipe: HARTPipeline, **settings) -> torch.Tensor:
    return pipe("a big red cat", seed=3, output_type="pt", **settings).images


@pytest.mark.parametrize("place", ["llm", "."])
def test_the_file_holds_the_defaults_of_a_call(root, pipeline, place):
    fields = {"guidance_scale": 1.5, "top_k": 2, "more_smooth": True}
    (root / place / "generation_config.json").write_text(json.dumps({"transformers_version": "5.0", **fields}))
    pipe = load(root)
    assert pipe.generation_config == DEFAULTS | fields
    assert torch.equal(painted(pipe), painted(pipeline, **fields))
    assert torch.equal(painted(pipe, guidance_scale=4.5, top_k=0, more_smooth=False), painted(pipeline))


def test_without_a_file_the_defaults_are_the_packages(pipeline):
    assert pipeline.generation_config == DEFAULTS
    assert torch.equal(painted(pipeline), painted(pipeline, guidance_scale=4.5, top_p=0.0, num_maskgit_iters=1))


def test_the_file_beside_the_weights_comes_first(root):
    (root / "generation_config.json").write_text('{"top_k": 1}')
    (root / "llm" / "generation_config.json").write_text('{"top_k": 2}')
    assert read_generation_config(root / "llm")["top_k"] == 2


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", r"is not JSON"),
        ("[1]", r"must be a JSON object of arguments of the call, got \[1\]"),
        ('{"guidance": 1}', r"unknown field 'guidance', nearest to it is 'guidance_scale'"),
        ('{"guidance_scale": "high"}', r"guidance_scale must be a finite number from 0, got 'high'"),
        ('{"guidance_scale": NaN}', r"guidance_scale must be a finite number from 0, got nan"),
        ('{"top_k": true}', r"top_k must be a whole number from 0, got True"),
        ('{"top_p": 1.5}', r"top_p must be a number from 0 to 1, got 1.5"),
        ('{"more_smooth": 1}', r"more_smooth must be True or False, got 1"),
        ('{"num_maskgit_iters": 0}', r"num_maskgit_iters must be a whole number from 1, got 0"),
    ],
)
def test_a_bad_file_is_named_in_one_sentence(root, content, sentence):
    (root / "llm" / "generation_config.json").write_text(content)
    with pytest.raises(ValueError, match=rf"generation_config.json'.*{sentence}") as told:
        load(root)
    assert "\n" not in str(told.value)


def test_the_constructor_takes_them_too(pipeline):
    parts = pipeline.components | {"generation_config": {"guidance_scale": 1.5}}
    second = HARTPipeline(**parts, progress=False)
    assert torch.equal(painted(second), painted(pipeline, guidance_scale=1.5))
    with pytest.raises(ValueError, match=r"unknown field 'cfg'"):
        HARTPipeline(**(parts | {"generation_config": {"cfg": 1}}))
    second.generation_config["top_k"] = -1
    with pytest.raises(ValueError, match=r"top_k must be a whole number from 0, got -1"):
        painted(second)
