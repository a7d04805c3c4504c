"""Checkpoints: every layout that the published tools write or read, nothing lost, and clear errors for the rest."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel

from hart.modules.models.autoencoder import HARTAutoEncoderWithDisc, HARTAutoEncoderWithDiscConfig
from hart.modules.models.transformer import HARTForT2I, HARTForT2IConfig
from tests.golden import FIXTURES, TRANSFORMERS
from tests.modules.models.transformer.conftest import TOKENIZER, build, text

PUBLISHED_BUFFERS = {"lvl_1L": torch.zeros(1, 89, dtype=torch.long), "attn_bias_for_masking": torch.zeros(1, 1, 89, 89)}

PICKLES = [("llm", "pytorch_model.bin"), ("llm", "ema_model.bin"), ("tokenizer", "pytorch_model.bin")]


@pytest.fixture
def root(shared_model, tmp_path) -> Path:
    """A checkpoint in the published layout."""
    shared_model.save_pretrained(tmp_path / "llm")
    shell = HARTAutoEncoderWithDisc(HARTAutoEncoderWithDiscConfig(**TOKENIZER))
    shell.vae.load_state_dict(shared_model.vae.state_dict())
    shell.save_pretrained(tmp_path / "tokenizer")
    return tmp_path


def state_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def replace_weights(folder: Path, state: dict[str, torch.Tensor], name: str = "pytorch_model.bin") -> None:
    (folder / "model.safetensors").unlink()
    save_file(state, folder / name) if name.endswith("safetensors") else torch.save(state, folder / name)


def assert_same(ours: torch.nn.Module, expected: torch.nn.Module) -> None:
    """Parameters and all buffers, also those outside the state dict, to the bit."""
    for kind in ("named_parameters", "named_buffers"):
        left, right = dict(getattr(ours, kind)()), dict(getattr(expected, kind)())
        assert set(left) == set(right)
        for name, value in left.items():
            assert value.dtype == right[name].dtype, name
            assert value.device.type == "cpu", name
            assert torch.equal(value, right[name]), name


def paint(model: HARTForT2I) -> torch.Tensor:
    return model.autoregressive_infer_cfg(2, **text(2), g_seed=3, cfg=2.0)


# -- what loads ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["", "llm", "llm/"])
def test_root_and_llm_folder_both_load(root, shared_model, part):
    loaded = HARTForT2I.from_pretrained(f"{root}/{part}")
    assert_same(loaded, shared_model)
    assert_same(loaded.vae, shared_model.vae)
    assert Path(loaded.name_or_path) == root / "llm"
    assert not loaded.training and not loaded.vae.training


def test_a_loaded_model_paints_what_the_built_one_paints(root, shared_model):
    assert torch.equal(paint(HARTForT2I.from_pretrained(root)), paint(shared_model))


def test_saving_a_loaded_model_again_changes_no_bit(root, tmp_path):
    first = HARTForT2I.from_pretrained(root)
    first.save_pretrained(tmp_path / "again" / "llm")
    second = HARTForT2I.from_pretrained(tmp_path / "again", vae=first.vae)
    assert_same(second, first)
    assert second.config.patch_nums == first.config.patch_nums
    assert state_of(root / "llm").keys() == state_of(tmp_path / "again" / "llm").keys()
    assert not any(key.startswith("vae") for key in state_of(root / "llm"))


@pytest.mark.parametrize("folder", TRANSFORMERS)
def test_every_flavour_survives_saving_and_loading(folder, tmp_path):
    first = HARTForT2I.from_pretrained(FIXTURES / folder)
    first.save_pretrained(tmp_path)
    assert_same(HARTForT2I.from_pretrained(tmp_path, vae=first.vae), first)


def test_pytorch_bin_loads(root, shared_model):
    replace_weights(root / "llm", state_of(root / "llm"))
    replace_weights(root / "tokenizer", state_of(root / "tokenizer"))
    loaded = HARTForT2I.from_pretrained(root)
    assert_same(loaded, shared_model)
    assert_same(loaded.vae, shared_model.vae)


def test_a_bin_of_torch_before_zip_archives_loads(root, shared_model):
    state = state_of(root / "llm")
    (root / "llm" / "model.safetensors").unlink()
    torch.save(state, root / "llm" / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert_same(HARTForT2I.from_pretrained(root), shared_model)


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards_load(root, shared_model, suffix):
    write_shards(root / "llm", suffix)
    assert_same(HARTForT2I.from_pretrained(root), shared_model)


def test_shards_that_transformers_wrote_load(shared_model, root):
    shutil.rmtree(root / "llm")
    shared_model.save_pretrained(root / "llm", max_shard_size="20KB")
    assert (root / "llm" / "model.safetensors.index.json").exists()
    assert_same(HARTForT2I.from_pretrained(root), shared_model)


def write_shards(folder: Path, suffix: str) -> Path:
    state = state_of(folder)
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    names = sorted(state)
    halves = {f"{stem}-0000{i + 1}-of-00002.{suffix}": names[i::2] for i in range(2)}
    for name, keys in halves.items():
        part = {key: state[key] for key in keys}
        save_file(part, folder / name) if suffix == "safetensors" else torch.save(part, folder / name)
    (folder / "model.safetensors").unlink()
    index = folder / f"{stem}.{suffix}.index.json"
    index.write_text(json.dumps({"weight_map": {key: name for name, keys in halves.items() for key in keys}}))
    return index


@pytest.mark.parametrize("name", ["ema_model.bin", "ema_model.safetensors"])
def test_ema_weights_are_the_default_where_there_are_any(root, shared_model, name):
    ema = {key: value + 1 if key.endswith("proj.weight") else value for key, value in state_of(root / "llm").items()}
    save_file(ema, root / "llm" / name) if name.endswith("safetensors") else torch.save(ema, root / "llm" / name)
    averaged = HARTForT2I.from_pretrained(root).state_dict()
    assert all(torch.equal(value, averaged[key]) for key, value in ema.items())
    assert_same(HARTForT2I.from_pretrained(root, ema=False), shared_model)


def test_ema_weights_replace_the_raw_ones_that_are_not_even_read(root):
    """One copy in memory: the raw file may be anything."""
    torch.save(state_of(root / "llm"), root / "llm" / "ema_model.bin")
    (root / "llm" / "model.safetensors").write_bytes(b"broken")
    HARTForT2I.from_pretrained(root)


def test_published_buffers_are_accepted_and_dropped(root, shared_model, capfd):
    replace_weights(root / "llm", state_of(root / "llm") | PUBLISHED_BUFFERS)
    loaded = HARTForT2I.from_pretrained(root)
    assert_same(loaded, shared_model)
    assert not set(PUBLISHED_BUFFERS) & set(loaded.state_dict())


def test_discriminator_keys_are_ignored(root, shared_model):
    state = state_of(root / "tokenizer") | {"disc.main.0.weight": torch.ones(2)}
    replace_weights(root / "tokenizer", state)
    assert_same(HARTForT2I.from_pretrained(root).vae, shared_model.vae)


def test_a_tokenizer_trained_on_other_stages_loads(root):
    state = state_of(root / "tokenizer") | {"vae.quantize.ema_vocab_hit_SV": torch.ones(14, 48)}
    replace_weights(root / "tokenizer", state, "model.safetensors")
    HARTForT2I.from_pretrained(root)


@pytest.mark.parametrize("stored", [torch.float16, torch.float32])
@pytest.mark.parametrize("wanted", [torch.float16, torch.float32, torch.bfloat16])
def test_stored_and_wanted_dtype_are_independent(root, stored, wanted):
    state = {key: value.to(stored) for key, value in state_of(root / "llm").items()}
    replace_weights(root / "llm", state, "model.safetensors")
    loaded = HARTForT2I.from_pretrained(root, dtype=wanted)
    for name, parameter in loaded.named_parameters():
        exact = name.startswith(("head.", "head_nm."))
        assert parameter.dtype == (torch.float32 if exact else wanted), name
        assert torch.equal(parameter, state[name].to(parameter.dtype)), name
    assert {value.dtype for value in loaded.vae.parameters()} == {torch.float32}  # whatever the transformer is in


def test_without_a_wish_the_dtype_is_the_checkpoints(root):
    state = {key: value.half() for key, value in state_of(root / "llm").items()}
    replace_weights(root / "llm", state, "model.safetensors")
    config = json.loads((root / "llm" / "config.json").read_text())
    config.pop("dtype", None)
    (root / "llm" / "config.json").write_text(json.dumps(config))
    assert HARTForT2I.from_pretrained(root).word_embed.weight.dtype == torch.float16


def test_loading_prints_nothing(root, capfd):
    replace_weights(root / "llm", state_of(root / "llm") | PUBLISHED_BUFFERS)
    replace_weights(root / "tokenizer", state_of(root / "tokenizer") | {"disc.main.0.weight": torch.ones(2)})
    HARTForT2I.from_pretrained(root)
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err == ""


def test_the_tokenizer_can_be_given_and_is_then_not_looked_for(root, shared_model):
    shutil.rmtree(root / "tokenizer")
    loaded = HARTForT2I.from_pretrained(root, vae=shared_model.vae)
    assert loaded.vae is shared_model.vae
    config = HARTForT2IConfig.from_pretrained(root)
    config.vae_path = str(root / "nowhere")
    assert HARTForT2I.from_pretrained(root, config=config, vae=shared_model.vae).vae is shared_model.vae


def test_vae_path_names_another_tokenizer(root, shared_model):
    (root / "tokenizer").rename(root / "elsewhere")
    config = HARTForT2IConfig.from_pretrained(root)
    config.vae_path = str(root / "elsewhere")
    assert_same(HARTForT2I.from_pretrained(root, config=config).vae, shared_model.vae)


def test_the_tokenizer_follows_to_and_stays_out_of_the_parameters(root):
    loaded = HARTForT2I.from_pretrained(root)
    assert not any("vae" in name for name, _ in loaded.named_parameters())
    loaded.to(torch.bfloat16)
    assert loaded.vae.dtype == torch.bfloat16


def test_transformers_finds_the_classes(root, shared_model):
    assert isinstance(AutoConfig.from_pretrained(root / "llm"), HARTForT2IConfig)
    loaded = AutoModel.from_pretrained(root / "llm")
    assert isinstance(loaded, HARTForT2I)
    assert_same(loaded, shared_model)


def test_a_freshly_built_model_equals_one_loaded_from_its_weights():
    """No buffer or table is left uninitialised by the load on the meta device."""
    loaded = HARTForT2I.from_pretrained(FIXTURES / "llm")
    built = HARTForT2I(loaded.config, vae=loaded.vae).eval()
    built.load_state_dict(loaded.state_dict(), strict=True)
    assert_same(built, loaded)
    context = torch.randn(1, 12, 48, generator=torch.Generator().manual_seed(0))
    arguments = {"label_B": context, "context_position_ids": torch.arange(12)[None], "g_seed": 1, "decode": False}
    assert torch.equal(built.autoregressive_infer_cfg(1, **arguments), loaded.autoregressive_infer_cfg(1, **arguments))


def test_loading_info_is_returned_on_request(root):
    _, info = HARTForT2I.from_pretrained(root, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]


# -- what is refused, and how ----------------------------------------------------------------------------------------


def refused(root: Path, error: type[Exception], *parts: str) -> None:
    """The error is of that kind, is one line and names every part."""
    with pytest.raises(error) as caught:
        HARTForT2I.from_pretrained(root)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message


def test_a_missing_folder(tmp_path):
    refused(tmp_path / "nowhere", FileNotFoundError, "nowhere", "is not a folder")


def test_a_folder_without_config(tmp_path):
    refused(tmp_path, FileNotFoundError, "config.json", "does not exist")


def test_a_folder_without_weights(root):
    (root / "llm" / "model.safetensors").unlink()
    refused(root, FileNotFoundError, "llm", "has no weights", "model.safetensors", "pytorch_model.bin")


def test_a_missing_tokenizer_is_told_when_it_is_needed(root):
    shutil.rmtree(root / "tokenizer")
    loaded = HARTForT2I.from_pretrained(root)
    with pytest.raises(FileNotFoundError, match="tokenizer"):
        paint(loaded)


@pytest.mark.parametrize("keep", [0, 1000, 0.5])
@pytest.mark.parametrize(("part", "name"), [*PICKLES, ("llm", "model.safetensors"), ("tokenizer", "model.safetensors")])
def test_a_truncated_file(root, part, name, keep):
    file = root / part / name
    if not file.exists():
        replace_weights(root / part, state_of(root / part), name)
    content = file.read_bytes()
    file.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    refused(root, ValueError, str(file), "truncated")


def test_a_foreign_config(root):
    (root / "llm" / "config.json").write_text('{"model_type": "llama"}')
    refused(root, ValueError, "config.json", "'llama'", "hart_transformer_t2i")


@pytest.mark.parametrize("content", ["", "{", "[1]", "null"])
def test_a_config_that_is_no_json_object(root, content):
    (root / "llm" / "config.json").write_text(content)
    refused(root, ValueError, "config.json", "is not a JSON object")


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ('{"model_type": "vqgan"}', "has model_type 'vqgan'"),
        ("{", "is not a JSON object"),
        ('{"model_type": "hart_autoencoder_with_disc", "v_patch_nums": [4, 2]}', "v_patch_nums is (4, 2)"),
    ],
)
def test_a_foreign_or_broken_config_of_the_tokenizer(root, content, part):
    (root / "tokenizer" / "config.json").write_text(content)
    refused(root, ValueError, str(root / "tokenizer" / "config.json"), part)


@pytest.mark.parametrize("part", ["llm", "tokenizer"])
def test_a_missing_key(root, part):
    state = state_of(root / part)
    key = sorted(state)[-1]
    del state[key]
    replace_weights(root / part, state, "model.safetensors")
    refused(root, ValueError, str(root / part / "model.safetensors"), "lacks the key", key)


@pytest.mark.parametrize("part", ["llm", "tokenizer"])
def test_a_key_too_many(root, part):
    replace_weights(root / part, state_of(root / part) | {"blocks.9.surprise": torch.ones(2)}, "model.safetensors")
    refused(root, ValueError, str(root / part / "model.safetensors"), "blocks.9.surprise")


@pytest.mark.parametrize(
    ("part", "key"), [("llm", "blocks.1.attn.proj.bias"), ("tokenizer", "vae.decoder.conv_in.weight")]
)
def test_a_wrong_shape(root, part, key):
    state = state_of(root / part)
    expected = list(state[key].shape)
    replace_weights(root / part, state | {key: torch.ones(7)}, "model.safetensors")
    refused(root, ValueError, str(root / part / "model.safetensors"), key, "[7]", str(expected))


def test_an_index_that_names_a_missing_shard(root):
    index = write_shards(root / "llm", "safetensors")
    (root / "llm" / "model-00002-of-00002.safetensors").unlink()
    refused(root, ValueError, str(index), "model-00002-of-00002.safetensors", "does not exist")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": 3}'])
def test_an_index_that_is_none(root, content):
    index = write_shards(root / "llm", "safetensors")
    index.write_text(content)
    refused(root, ValueError, str(index), "weight_map")


class Malice:
    """Unpickling this creates a file: what an attacker would replace by something worse."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(("part", "name"), PICKLES)
def test_a_malicious_pickle_is_refused_and_never_executed(root, tmp_path, part, name, zipped):
    target, file = tmp_path / "executed", root / part / name
    state = state_of(root / part) | {"evil": Malice(target)}
    (root / part / "model.safetensors").unlink()
    torch.save(state, file, _use_new_zipfile_serialization=zipped)
    refused(root, ValueError, str(file), "was not executed")
    assert not target.exists()
    # The trap works: an ordinary load would have fallen into it.
    torch.load(file, weights_only=False)
    assert target.exists()


def test_a_bare_malicious_pickle_is_refused_and_never_executed(root, tmp_path):
    target, file = tmp_path / "executed", root / "llm" / "ema_model.bin"
    file.write_bytes(pickle.dumps(Malice(target)))
    refused(root, ValueError, str(file), "was not executed")
    assert not target.exists()


@pytest.mark.parametrize("content", [[torch.ones(2)], {"model": {"a": torch.ones(2)}}, torch.ones(2)])
def test_a_bin_that_is_no_plain_state_dict(root, content):
    torch.save(content, root / "llm" / "ema_model.bin")
    refused(root, ValueError, "ema_model.bin", "plain dict of tensors")


def test_a_tokenizer_that_does_not_fit(shared_model):
    with pytest.raises(ValueError, match="the tokenizer's vocab_size is 48; the transformer was built for 64"):
        HARTForT2I(HARTForT2IConfig(**(shared_model.config.to_dict() | {"codebook_size": 64})), vae=shared_model.vae)


def test_a_model_without_any_tokenizer_says_how_to_give_it_one():
    model = build()
    bare = HARTForT2I(HARTForT2IConfig(**(model.config.to_dict() | {"name_or_path": ""})))
    with pytest.raises(FileNotFoundError, match="pass vae="):
        _ = bare.vae
