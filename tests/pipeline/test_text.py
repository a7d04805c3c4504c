"""Text features instead of prompts, negative prompts, and what is encoded how often."""

import pytest
import torch

from hart.pipeline.text import is_blank
from hart.utils import EncodedPrompts

PROMPTS = ["a big red cat", "the small dog on the river"]


def painted(pipeline, *prompts, **options):
    return pipeline(*prompts, **{"seed": 5, "output_type": "pt", **options})


def test_features_paint_what_their_prompts_paint(pipeline):
    expected = painted(pipeline, PROMPTS, num_images_per_prompt=2)
    features = pipeline.encode_prompt(PROMPTS)
    assert features.context.shape == (2, 12, 48) and features.mask.shape == (2, 12)
    output = painted(pipeline, prompt_embeds=features, num_images_per_prompt=2)
    assert torch.equal(output.images, expected.images)
    assert output.prompts == [""] * 4 and output.seeds == expected.seeds
    repeated = pipeline.encode_prompt(PROMPTS, num_images_per_prompt=2)
    assert torch.equal(painted(pipeline, prompt_embeds=repeated).images, expected.images)


def test_features_as_tensors_come_with_their_mask(pipeline):
    features = pipeline.encode_prompt(PROMPTS)
    expected = painted(pipeline, PROMPTS).images
    tensors = {"prompt_embeds": features.context, "prompt_embeds_mask": features.mask}
    assert torch.equal(painted(pipeline, **tensors).images, expected)
    assert torch.equal(painted(pipeline, **tensors, prompt_embeds_position_ids=features.position_ids).images, expected)
    moved = painted(pipeline, **tensors, prompt_embeds_position_ids=features.position_ids + 1).images
    assert not torch.allclose(moved, expected, atol=1e-3)


def test_a_negative_prompt_changes_the_picture_and_guides_away(pipeline):
    plain, away = painted(pipeline, PROMPTS), painted(pipeline, PROMPTS, negative_prompt="a blue house")
    assert not torch.allclose(away.images, plain.images, atol=1e-3)
    each = painted(pipeline, PROMPTS, negative_prompt=["a blue house", "a blue house"])
    assert torch.equal(each.images, away.images)
    features = pipeline.encode_prompt("a blue house")
    assert torch.equal(painted(pipeline, PROMPTS, negative_prompt_embeds=features).images, away.images)
    # Guidance away from the prompt itself is no guidance: both halves are then equal.
    same = painted(pipeline, PROMPTS[0], negative_prompt=PROMPTS[0], guidance_scale=3.0).images
    unguided = painted(pipeline, PROMPTS[0], guidance_scale=0.0).images
    torch.testing.assert_close(same, unguided, rtol=0, atol=1e-3)


def test_an_empty_negative_prompt_is_what_the_model_was_trained_with(pipeline):
    plain = painted(pipeline, PROMPTS).images
    assert torch.equal(painted(pipeline, PROMPTS, negative_prompt="").images, plain)
    mixed = painted(pipeline, PROMPTS, negative_prompt=["", "a blue house"], batch_size=2).images
    assert torch.equal(mixed[0], plain[0]) and not torch.allclose(mixed[1], plain[1], atol=1e-3)


def test_each_distinct_prompt_of_a_call_is_encoded_once(pipeline, monkeypatch):
    calls, encode = [], type(pipeline).encode
    monkeypatch.setattr(type(pipeline), "encode", lambda self, texts: calls.extend(texts) or encode(self, texts))
    prompts = [PROMPTS[0], PROMPTS[1], PROMPTS[0]]
    painted(pipeline, prompts, num_images_per_prompt=2, batch_size=1, negative_prompt="a blue house")
    assert sorted(calls) == sorted({*prompts, "a blue house"})


def test_features_are_checked_at_the_door(pipeline):
    features = pipeline.encode_prompt(PROMPTS)
    nan = features._replace(context=features.context * float("nan"))
    for options, sentence in (
        ({"prompt_embeds": "a cat"}, r"prompt_embeds is 'str'; allowed is a floating-point tensor"),
        ({"prompt_embeds": features.context[:, :5]}, r"prompt_embeds is .*allowed is .* \[N, 12, 48\]"),
        ({"prompt_embeds": features.context}, r"prompt_embeds_mask is 'NoneType'; allowed is an? integer"),
        ({"prompt_embeds": features, "prompt_embeds_mask": features.mask}, r"prompt_embeds_mask must be left out"),
        ({"prompt_embeds": nan}, r"prompt_embeds must hold finite numbers"),
        ({"prompt": PROMPTS, "negative_prompt_embeds": features.context}, r"must be what encode_prompt returned"),
        (
            {"prompt": "a cat", "negative_prompt_embeds": features},
            r"negative_prompt_embeds must have 1 or 1 rows, got 2",
        ),
        (
            {"prompt": PROMPTS, "negative_prompt": "a", "negative_prompt_embeds": features},
            r"negative_prompt must be left out where negative_prompt_embeds is given",
        ),
    ):
        with pytest.raises(ValueError, match=sentence):
            painted(pipeline, **options)


def test_encoding_checks_its_prompts(pipeline):
    for arguments, sentence in (
        (("",), "must be a text that shows something"),
        (("a", 0), "num_images_per_prompt must be a whole number from 1, got 0"),
        (("the dog " * 20,), "has 40 tokens; allowed are 12"),
    ):
        with pytest.raises(ValueError, match=sentence):
            pipeline.encode_prompt(*arguments)
    assert isinstance(pipeline.encode_prompt("the dog " * 20, on_long="truncate"), EncodedPrompts)


@pytest.mark.parametrize("text", ["", "  \t\n", "\u200b", "\ufeff \u200d", "\x00", "\u2028"])
def test_a_text_that_shows_nothing_is_blank(text):
    assert is_blank(text) and not is_blank(f"{text}a") and not is_blank(f"{text}猫")
