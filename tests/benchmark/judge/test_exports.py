"""Folder layouts that other tools read."""

import json

import pytest
import torch

from hart.benchmark.judge.exports import EXPORTS
from hart.benchmark.pictures import load_picture, save_picture
from hart.benchmark.prompt_files import read_prompt_files
from tests.benchmark.conftest import setting


@pytest.fixture
def run(results_of, tmp_path):
    """Three pictures, two of them of one prompt, each with its number as its colour."""
    for index in range(3):
        save_picture(torch.full((3, 4, 4), index / 10), tmp_path / "run/pictures/no-cache" / f"{index:05d}")
    return results_of(setting("no-cache", 1.0)), tmp_path / "run", tmp_path / "out"


def number(path) -> int:
    return round(load_picture(path).mean() / 25.5)


def test_geneval(run):
    place = EXPORTS["geneval"](*run) / "no-cache"
    assert json.loads((place / "00000/metadata.jsonl").read_text()) == {"tag": "", "include": [], "prompt": "a cat"}
    assert [number(place / f"00000/samples/{name}.png") for name in ("0000", "0001")] == [0, 2]
    assert number(place / "00001/samples/0000.png") == 1 and len(list(place.iterdir())) == 2


def test_mjhq(run):
    place = EXPORTS["mjhq"](*run) / "no-cache"
    meta = json.loads((place / "meta_data.json").read_text())
    assert sorted(f"{name}.png" for name in meta) == sorted(file.name for file in (place / "unsorted").iterdir())
    assert [entry["prompt"] for entry in meta.values()] == ["a cat", "a dog", "a cat"]
    assert [number(place / entry["category"] / f"{name}.png") for name, entry in meta.items()] == [0, 1, 2]


def test_hps(run):
    place = EXPORTS["hps"](*run)
    assert json.loads((place / "prompts/custom.json").read_text()) == ["a cat", "a dog", "a cat"]
    assert [number(place / f"no-cache/custom/0000{i}.jpg") for i in range(3)] == [0, 1, 2]
    assert [name.name for name in (place / "no-cache").iterdir()] == ["custom"]  # any other name would be a style


def test_imagereward(run):
    place = EXPORTS["imagereward"](*run) / "no-cache"
    entries = json.loads((place / "prompts.json").read_text())
    assert [entry["prompt"] for entry in entries] == ["a cat", "a dog"]
    assert [[number(place / file) for file in entry["generations"]] for entry in entries] == [[0, 2], [1]]


def with_metadata(run, path, content):
    """The run as if these were its prompts files."""
    path.write_text(content)
    results, folder, target = run
    prompts, results.work.metadata = read_prompt_files([path])
    results.work.prompts = [prompts[index % len(prompts)] for index in range(3)]
    return results, folder, target


def test_geneval_s_own_metadata_is_carried(run, tmp_path):
    lines = [{"tag": "counting", "include": [{"class": "cat", "count": 2}], "prompt": "two cats"}, {"prompt": "a dog"}]
    given = with_metadata(run, tmp_path / "evaluation_metadata.jsonl", "\n".join(map(json.dumps, lines)))
    place = EXPORTS["geneval"](*given) / "no-cache"
    assert json.loads((place / "00000/metadata.jsonl").read_text()) == lines[0]
    assert len(list((place / "00000/samples").iterdir())) == 2


def test_mjhq_s_own_names_and_categories_are_carried(run, tmp_path):
    meta = {"abc": {"category": "animals", "prompt": "a cat"}, "../d": {"category": "../x", "prompt": "a dog"}}
    given = with_metadata(run, tmp_path / "meta_data.json", json.dumps(meta))
    place = EXPORTS["mjhq"](*given) / "no-cache"
    assert sorted(file.name for file in (place / "animals").iterdir()) == ["abc-1.png", "abc.png"]
    assert (place / "-x/-d.png").is_file()  # a hostile name stays inside the folder
    assert json.loads((place / "meta_data.json").read_text())["abc-1"] == meta["abc"]


def test_hps_styles_are_those_of_the_files(run, tmp_path):
    given = with_metadata(run, tmp_path / "anime.json", json.dumps(["a cat", "a dog", "a bird"]))
    place = EXPORTS["hps"](*given)
    assert json.loads((place / "prompts/anime.json").read_text()) == ["a cat", "a dog", "a bird"]
    assert len(list((place / "no-cache/anime").iterdir())) == 3


def test_entries_with_one_prompt_stay_apart(run, tmp_path):
    meta = {"abc": {"category": "animals", "prompt": "a cat"}, "def": {"category": "pets", "prompt": "a cat"}}
    given = with_metadata(run, tmp_path / "meta_data.json", json.dumps(meta))
    place = EXPORTS["mjhq"](*given) / "no-cache"
    assert sorted(str(file.relative_to(place)) for file in place.glob("*/*.png")) == [
        "animals/abc-1.png", "animals/abc.png", "pets/def.png"
    ]  # fmt: skip
    results, folder, target = given
    assert len(list((EXPORTS["geneval"](results, folder, target / "geneval") / "no-cache").iterdir())) == 2


@pytest.mark.parametrize("name, content", [("a.json", "{"), ("a.jsonl", '{"text": 1}'), ("a.json", "3")])
def test_prompts_files_of_another_shape_are_refused(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=r"prompts_file .*allowed is a text with one prompt a line, GenEval's"):
        read_prompt_files([tmp_path / name])


def test_missing_pictures_are_said(run):
    results, folder, target = run
    next((folder / "pictures/no-cache").iterdir()).unlink()
    with pytest.raises(ValueError, match=r"'no-cache' has 2 pictures in .*one per prompt, 3"):
        EXPORTS["hps"](results, folder, target)
