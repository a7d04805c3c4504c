"""Checkpoints by hub id: from a download cache that is on disk, and from a stand-in for the hub on loopback."""

import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch

import hart.pipeline.folders
from hart import HARTPipeline
from hart.modules.models.transformer import HARTForT2I
from hart.utils.hub import HubOptions, checkpoint_files, is_hub_id, text_model_files
from tests.pipeline.hub_server import COMMIT, serving

REPOSITORY = "someone/tiny-hart"


@pytest.fixture
def offline(monkeypatch):
    """The hub is an address at which nobody answers."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")


@pytest.fixture
def cache_dir(checkpoint_root, tmp_path) -> Path:
    """A download cache with the tiny checkpoint in it."""
    repository = tmp_path / "cache" / "models--someone--tiny-hart"
    shutil.copytree(checkpoint_root, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return tmp_path / "cache"


@pytest.fixture
def hub(checkpoint_root, tmp_path, monkeypatch):
    """A hub with the tiny checkpoint, whole and in a subfolder, averaged weights and files that nobody needs."""
    root = tmp_path / "hub"
    for place in (root / REPOSITORY, root / "someone" / "many" / "small"):
        shutil.copytree(checkpoint_root, place)
        shutil.copyfile(place / "llm" / "model.safetensors", place / "llm" / "ema_model.safetensors")
        (place / "llm" / "pytorch_model.bin").write_bytes(b"raw")
        (place / "tokenizer" / "pytorch_model.bin").write_bytes(b"raw")
        (place / "README.md").write_text("about")
        (place / "samples.png").write_bytes(b"picture")
    with serving(root) as (address, asked):
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield asked


def load(**options) -> HARTPipeline:
    return HARTPipeline.from_pretrained(
        REPOSITORY, **{"dtype": "float32", "device": "cpu", "progress": False, **options}
    )


def assert_same(pipe: HARTPipeline, expected: HARTPipeline) -> None:
    for key, tensor in expected.model.state_dict().items():
        assert torch.equal(pipe.model.state_dict()[key], tensor)
    assert pipe.system_prompt == expected.system_prompt


@pytest.mark.parametrize("options", [{"local_files_only": True}, {}, {"revision": COMMIT}])
def test_what_was_downloaded_is_found_without_the_hub(cache_dir, offline, pipeline, options):
    assert_same(load(cache_dir=cache_dir, **options), pipeline)


def test_the_image_model_alone_is_found_by_its_id(cache_dir, offline, pipeline):
    model = HARTForT2I.from_pretrained(REPOSITORY, cache_dir=cache_dir, local_files_only=True, torch_dtype="float32")
    assert torch.equal(model.head.weight, pipeline.model.head.weight)
    assert torch.equal(model.vae.decoder.conv_in.weight, pipeline.model.vae.decoder.conv_in.weight)


def test_a_download_fetches_what_is_needed_and_no_more(hub, pipeline, tmp_path, capfd):
    assert_same(load(cache_dir=tmp_path / "cache"), pipeline)
    assert capfd.readouterr().err == ""
    weights = {name for name in hub if name.endswith((".bin", ".safetensors"))}
    assert weights == {"llm/ema_model.safetensors", "tokenizer/model.safetensors", "text_encoder/model.safetensors"}
    assert "system_prompt.txt" in hub and not {"README.md", "samples.png"} & set(hub)
    sent = len(hub)
    assert_same(load(cache_dir=tmp_path / "cache"), pipeline)
    assert len(hub) == sent  # all of it was here


def test_raw_weights_instead_of_averaged_ones(hub, tmp_path):
    load(cache_dir=tmp_path / "cache", ema=False)
    assert "llm/model.safetensors" in hub and "llm/ema_model.safetensors" not in hub


def test_the_image_model_alone_downloads_no_text_model(hub, tmp_path):
    HARTForT2I.from_pretrained(REPOSITORY, cache_dir=tmp_path / "cache", revision="main")
    assert not [name for name in hub if name.startswith("text_encoder") or name == "system_prompt.txt"]


@pytest.mark.parametrize("subfolder", ["small", "small/llm"])
def test_a_checkpoint_in_a_subfolder(hub, tmp_path, pipeline, subfolder):
    pipe = HARTPipeline.from_pretrained(
        "someone/many", dtype="float32", device="cpu", progress=False, cache_dir=tmp_path / "cache", subfolder=subfolder
    )
    assert_same(pipe, pipeline)


def test_a_known_checkpoint_names_its_text_model(hub, tmp_path, pipeline, monkeypatch):
    root = tmp_path / "hub" / "someone"
    (root / "tiny-hart" / "text_encoder").rename(root / "tiny-text")
    with pytest.raises(FileNotFoundError, match=r"text_encoder' does not exist; give text_model_path"):
        load(cache_dir=tmp_path / "cache")
    monkeypatch.setitem(hart.pipeline.folders.TEXT_MODEL_OF, REPOSITORY, "someone/tiny-text")
    assert_same(load(cache_dir=tmp_path / "cache"), pipeline)
    assert_same(load(cache_dir=tmp_path / "cache", text_model="someone/tiny-text"), pipeline)


def test_the_published_checkpoint_is_known():
    assert hart.pipeline.folders.TEXT_MODEL_OF["mit-han-lab/hart-0.7b-1024px"] == "mit-han-lab/Qwen2-VL-1.5B-Instruct"


@pytest.mark.parametrize(
    ("repository", "options", "sentence"),
    [
        ("someone/nothing", {}, r"'someone/nothing' is neither .* the hub knows no such repository"),
        (REPOSITORY, {"revision": "v9"}, r"the hub knows no revision 'v9' of it"),
        ("someone/many", {}, r"'someone/many' holds no HART checkpoint: 'llm/config.json' is not in the repository"),
        ("someone/many", {"subfolder": "big"}, r"'big/llm/config.json' is not in the repository"),
    ],
)
def test_what_the_hub_lacks_is_one_sentence(hub, tmp_path, repository, options, sentence):
    with pytest.raises(FileNotFoundError, match=sentence) as told:
        HARTPipeline.from_pretrained(repository, cache_dir=tmp_path / "cache", progress=False, **options)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [({"local_files_only": True}, r"local_files_only is True"), ({}, r"the hub cannot be reached \(")],
)
def test_offline_and_never_downloaded_is_one_sentence(offline, tmp_path, options, sentence):
    with pytest.raises(FileNotFoundError, match=sentence) as told:
        load(cache_dir=tmp_path / "cache", **options)
    assert str(told.value).startswith("'someone/tiny-hart' is neither a folder here nor in the hub's download cache")
    assert "\n" not in str(told.value)


def test_a_download_that_lacks_weights_is_named(cache_dir, offline):
    file = cache_dir / "models--someone--tiny-hart" / "snapshots" / COMMIT / "llm" / "model.safetensors"
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"llm' has no weights; one of ema_model.safetensors"):
        load(cache_dir=cache_dir, local_files_only=True)


def test_ids_are_told_from_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_hub_id("owner/name-1.0") and not is_hub_id("/owner/name") and not is_hub_id("owner")
    assert not is_hub_id("owner/name/part") and not is_hub_id(Path("owner/name")) and not is_hub_id(5)
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert not is_hub_id("owner/name")


def test_all_shards_of_an_index_are_chosen():
    llm = [f"llm/model-0000{part}-of-00002.safetensors" for part in (1, 2)]
    names = ["llm/config.json", "llm/model.safetensors.index.json", "llm/pytorch_model.bin", *llm, "x.png"]
    assert set(checkpoint_files(names, "", ema=True, with_text=False)) == set(names[:2]) | set(llm)
    assert checkpoint_files([*names, "llm/ema_model.bin"], "", True, False)[-1] == "llm/ema_model.bin"


def test_files_of_a_text_model():
    names = ["config.json", "merges.txt", "model.safetensors", "pytorch_model.bin", "onnx/model.json", "a.md"]
    assert text_model_files(names) == ["config.json", "merges.txt", "model.safetensors"]


def test_options_leave_what_is_not_theirs():
    options = {"revision": "v1", "token": None, "dtype": "float32", "subfolder": "a"}
    assert HubOptions.taken_from(options) == HubOptions(revision="v1", subfolder="a")
    assert options == {"dtype": "float32"}
