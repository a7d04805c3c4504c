"""Prompt encoding against the recorded runs, and what it refuses."""

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from hart.utils import EncodedPrompts, encode_prompts, load_text_model
from tests.golden import TEXT_MODEL, load

RECORDED, NOTES = load("encode_prompts")
LENGTH = NOTES["max_token_length"]


@pytest.fixture(scope="module")
def text_model():
    return load_text_model(TEXT_MODEL)


@pytest.fixture
def encode(text_model, monkeypatch):
    """`encode_prompts` with the fixture's language model, and a padding side as its first argument."""

    def encode(side: str, prompts, **options) -> EncodedPrompts:
        monkeypatch.setattr(text_model.tokenizer, "padding_side", side)
        return encode_prompts(prompts, *text_model, **{"max_token_length": LENGTH, **options})

    return encode


@pytest.mark.parametrize("form", ["plain", "system"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_encoding_repeats_the_recorded_run(encode, side, form):
    system_prompt = NOTES["system_prompt"] if form == "system" else None
    encoded = encode(side, NOTES["prompts"], system_prompt=system_prompt)
    for name in ("tokens", "mask", "position_ids"):
        assert torch.equal(getattr(encoded, name), RECORDED[f"{side}.{form}.{name}"])
    expected = RECORDED[f"{side}.{form}.context"]
    assert encoded.context.shape == expected.shape and encoded.context.dtype == torch.float32
    # Left padding without a system prompt attends to nothing: what it holds depends on the transformers version.
    defined = encoded.mask.bool() if (side, form) == ("left", "plain") else torch.ones_like(encoded.mask).bool()
    torch.testing.assert_close(encoded.context[defined], expected[defined], rtol=0, atol=5e-6)


def test_the_system_prompt_can_be_switched_off(encode):
    off = encode("right", NOTES["prompts"], system_prompt=NOTES["system_prompt"], use_llm_system_prompt=False)
    assert torch.equal(off.context, encode("right", NOTES["prompts"]).context)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_batch_equals_its_prompts_one_by_one(encode, side):
    batch = encode(side, NOTES["prompts"], system_prompt=NOTES["system_prompt"])
    for row, prompt in enumerate(NOTES["prompts"]):
        alone = encode(side, [prompt], system_prompt=NOTES["system_prompt"])
        assert torch.equal(batch.tokens[row], alone.tokens[0])
        torch.testing.assert_close(batch.context[row], alone.context[0], rtol=0, atol=2e-6)


def test_threads_share_a_tokenizer(text_model):
    """A fast tokenizer refuses a thread that changes its truncation while another one reads it."""

    def tokens(length: int) -> torch.Tensor:
        return encode_prompts(["the dog " * 200], *text_model, max_token_length=length).tokens

    lengths = [4, 8] * 40
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(tokens, lengths))
    assert all(torch.equal(one, tokens(length)) for one, length in zip(together, lengths, strict=True))


def test_context_is_float32_for_a_model_in_half_precision(encode, text_model):
    text_model.model.to(torch.bfloat16)
    try:
        assert encode("right", ["a red cat"]).context.dtype == torch.float32
    finally:
        load_again = load_text_model(TEXT_MODEL).model.state_dict()
        text_model.model.float().load_state_dict(load_again)


def test_a_long_prompt_is_cut_with_one_warning(encode, caplog):
    with caplog.at_level(logging.WARNING, logger="hart"):
        encoded = encode("right", ["a red cat", "the dog " * 10])
    assert encoded.mask.sum(dim=1).tolist() == [3, LENGTH]
    assert len(caplog.records) == 1
    assert "'the dog the dog" in caplog.text and f"has 20 tokens; it is cut to {LENGTH}" in caplog.text


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        ([], {}, r"prompts is empty"),
        ("a red cat", {}, r"prompts is the string 'a red cat'; allowed is a list of strings"),
        (["a red cat", 3], {}, r"prompts\[1\] is 3; allowed are strings"),
        (["a red cat", None], {}, r"prompts\[1\] is None"),
        (["a"], {"max_token_length": 0}, r"max_token_length is 0; allowed is 1 or more"),
        (["a"], {"on_long": "drop"}, r"on_long is 'drop'; allowed are 'truncate' and 'error'"),
        (["the dog " * 10], {"on_long": "error"}, r"prompt 'the dog .*' has 20 tokens; allowed are 12"),
        (["a"], {"on_long": "error", "system_prompt": "a " * 13}, r"system prompt 'a .*' has 13 tokens"),
    ],
)
def test_what_cannot_be_encoded_is_refused_by_name(encode, prompts, options, message):
    with pytest.raises(ValueError, match=message):
        encode("right", prompts, **options)


def test_a_tokenizer_without_padding_token_is_refused(encode, text_model, monkeypatch):
    monkeypatch.setattr(type(text_model.tokenizer), "pad_token_id", property(lambda self: None), raising=False)
    with pytest.raises(ValueError, match=r"tokenizer has no pad_token"):
        encode("right", ["a"])
