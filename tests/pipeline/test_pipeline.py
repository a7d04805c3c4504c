"""Prompts in, pictures out: seeds, batches, output types, callbacks and what is refused."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from hart import HARTPipeline

PROMPTS = ["a big red cat", "the small dog on the river", "a blue house"]
# Products of another shape round differently; a wrong seed or prompt changes pictures by a thousand times more.
ROUNDING = 1e-4


def close(actual: torch.Tensor, expected: torch.Tensor) -> bool:
    return bool(torch.allclose(actual, expected, rtol=0, atol=ROUNDING))


@pytest.fixture(scope="module")
def painted(pipeline):
    """Two pictures of each prompt, seeds 5 to 10, in one batch."""
    return pipeline(PROMPTS, num_images_per_prompt=2, seed=5, output_type="pt", batch_size=6)


def test_a_call_returns_pictures_prompts_seeds_and_times(painted):
    assert painted.images.shape == (6, 3, 128, 128) and painted.images.dtype == torch.float32
    assert painted.images.min() >= 0 and painted.images.max() <= 1
    assert painted.prompts == [prompt for prompt in PROMPTS for _ in range(2)]
    assert painted.seeds == [5, 6, 7, 8, 9, 10] and painted.latents is None
    times = painted.timings
    assert len(times["stages"]) == 10 and min(times["stages"]) > 0
    assert times["total"] >= times["text"] + sum(times["stages"]) + times["decoder"] > 0


def test_different_seeds_and_prompts_give_different_pictures(painted):
    for first in range(6):
        for second in range(first):
            assert not close(painted.images[first], painted.images[second])


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch_size=st.integers(1, 5), order=st.permutations(range(6)))
def test_a_seed_is_a_picture_at_every_place_of_every_batch(pipeline, painted, batch_size, order):
    prompts, seeds = [painted.prompts[i] for i in order], [painted.seeds[i] for i in order]
    again = pipeline(prompts, seed=seeds, output_type="pt", batch_size=batch_size)
    assert again.seeds == seeds
    assert torch.equal(again.images, painted.images[list(order)])


def test_the_same_call_gives_the_same_bits(pipeline, painted):
    again = pipeline(PROMPTS, num_images_per_prompt=2, seed=5, output_type="pt", batch_size=6)
    assert torch.equal(again.images, painted.images)


def test_generators_draw_the_seeds(pipeline):
    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(3)

    one = pipeline(PROMPTS[:2], generator=generator(), output_type="pt")
    assert len(set(one.seeds)) == 2
    assert torch.equal(pipeline(PROMPTS[:2], generator=generator(), output_type="pt").images, one.images)
    assert close(pipeline(PROMPTS[:2], seed=one.seeds, output_type="pt").images, one.images)
    listed = pipeline(PROMPTS[:2], generator=[generator(), generator()], output_type="pt")
    assert listed.seeds == [one.seeds[0]] * 2


def test_without_seed_the_drawn_ones_are_told(pipeline):
    first, second = pipeline("a cat", output_type="pt"), pipeline("a cat", output_type="pt")
    assert first.seeds != second.seeds
    assert torch.equal(pipeline("a cat", seed=first.seeds, output_type="pt").images, first.images)


def test_output_types_show_the_same_picture(pipeline, painted):
    images = {kind: pipeline(PROMPTS[0], seed=5, output_type=kind).images for kind in ("pil", "pt", "np", "latent")}
    assert close(images["pt"][0], painted.images[0])
    assert isinstance(images["np"], np.ndarray) and images["np"].shape == (1, 128, 128, 3)
    assert np.array_equal(images["np"][0], images["pt"][0].permute(1, 2, 0).numpy())
    assert isinstance(images["pil"][0], Image.Image)
    assert np.array_equal(np.asarray(images["pil"][0]), (images["np"][0] * 255).astype(np.uint8))
    assert images["latent"].shape == (1, 8, 16, 16)
    assert torch.equal(pipeline.model.latent_to_img(images["latent"]).clamp(0, 1), images["pt"])


def test_latents_are_there_where_they_were_asked_for(pipeline):
    output = pipeline("a cat", seed=1, output_type="latent")
    assert torch.equal(output.latents, output.images)
    assert output.timings["decoder"] == 0


@pytest.mark.parametrize(
    "change",
    [{"guidance_scale": 1.5}, {"num_maskgit_iters": 2}, {"more_smooth": True}, {"top_k": 1}, {"final_stage": 1}],
)
def test_settings_reach_the_model(pipeline, painted, change):
    assert not close(pipeline(PROMPTS[0], seed=5, output_type="pt", **change).images[0], painted.images[0])


def test_the_system_prompt_reaches_the_text_model(pipeline, painted):
    plain = HARTPipeline(pipeline.model, pipeline.text_model, pipeline.tokenizer, progress=False)
    assert not close(plain(PROMPTS[0], seed=5, output_type="pt").images[0], painted.images[0])


def test_the_callback_sees_every_stage_of_every_batch(pipeline):
    seen = []
    output = pipeline(
        PROMPTS, seed=1, output_type="pt", batch_size=2,
        callback_on_stage_end=lambda index, info: seen.append((index, len(info.f_hat), info)),
    )  # fmt: skip
    assert [entry[:2] for entry in seen] == [(stage, 2) for stage in range(10)] + [(stage, 1) for stage in range(10)]
    assert close(seen[-1][2].preview().clamp(0, 1), output.images[2:])


def test_an_exception_in_the_callback_leaves_nothing_behind(pipeline, painted):
    def fail(index: int, info: object) -> None:
        if index == 4:
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        pipeline(PROMPTS, seed=1, callback_on_stage_end=fail)
    again = pipeline(PROMPTS, num_images_per_prompt=2, seed=5, output_type="pt", batch_size=6)
    assert torch.equal(again.images, painted.images)


def test_progress_has_one_switch(pipeline, capfd, monkeypatch):
    pipeline("a cat", seed=1)
    assert capfd.readouterr().err == ""
    pipeline("a cat", seed=1, progress=True)
    assert "10/10" in capfd.readouterr().err
    monkeypatch.setattr(pipeline, "progress", True)
    pipeline("a cat", seed=1, progress=False)
    assert capfd.readouterr().err == ""


def test_a_safety_checker_can_refuse(pipeline, monkeypatch):
    seen = []

    def checker(prompts: list[str]) -> list[bool]:
        seen.append(prompts)
        return ["dog" in prompt for prompt in prompts]

    monkeypatch.setattr(pipeline, "safety_checker", checker)
    assert len(pipeline("a cat", seed=1).images) == 1
    with pytest.raises(ValueError, match=r"safety checker refuses 1 of 3 prompts: \['the small dog on the river'\]"):
        pipeline(PROMPTS, seed=1)
    assert seen == [["a cat"], PROMPTS]


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        ([], r"safety_checker must return 3 answers, one per prompt, got 0 answers"),
        ([False] * 4, r"safety_checker must return 3 answers, .* got 4 answers"),
        (None, r"safety_checker must return 3 .* got a NoneType"),
        (True, r"safety_checker must return 3 .* got a bool"),
    ],
)
def test_a_safety_checker_answers_for_every_prompt(pipeline, monkeypatch, answers, sentence):
    monkeypatch.setattr(pipeline, "safety_checker", lambda prompts: answers)
    with pytest.raises(ValueError, match=sentence):
        pipeline(PROMPTS, seed=1)


def test_a_safety_checker_is_a_function(pipeline):
    with pytest.raises(ValueError, match=r"safety_checker must be a function of a list of prompts, or None, got bool"):
        HARTPipeline(pipeline.model, pipeline.text_model, pipeline.tokenizer, safety_checker=True)


def test_the_default_batch_is_one_picture_where_each_is_computed_by_itself(pipeline, monkeypatch):
    sizes = []

    def painted(callback_pipeline: HARTPipeline) -> list[int]:
        sizes.clear()
        callback_pipeline(
            PROMPTS, seed=1, output_type="latent",
            callback_on_stage_end=lambda index, info: sizes.append(len(info.f_hat)),
        )  # fmt: skip
        return sizes[::10]

    assert painted(pipeline) == [1, 1, 1]
    monkeypatch.setattr("hart.pipeline.pipeline.paints_one_by_one", lambda device: False)
    assert pipeline.default_batch_size == 8 and painted(pipeline) == [3]


def test_guidance_of_zero_is_the_prompt_without_guidance(pipeline, painted):
    """The prompt still decides what is painted."""
    plain = [pipeline(prompt, seed=5, guidance_scale=0, output_type="pt").images for prompt in PROMPTS[:2]]
    assert not close(*plain)


def test_threads_paint_what_calls_one_after_another_paint(pipeline, painted):
    def paint(index: int) -> torch.Tensor:
        return pipeline(painted.prompts[index], seed=painted.seeds[index], output_type="pt").images[0]

    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(paint, range(6)))
    assert all(torch.equal(image, painted.images[index]) for index, image in enumerate(together))


def test_long_prompts_are_refused_or_cut(pipeline):
    words = "a big red cat on the river near the small blue house"
    with pytest.raises(ValueError, match=r"prompt 'a big red cat .*' has 15 tokens; allowed are 12"):
        pipeline([*PROMPTS, f"{words} and a dog"])
    cut = pipeline(f"{words} and a dog", seed=1, output_type="pt", on_long="truncate")
    assert torch.equal(cut.images, pipeline(words, seed=1, output_type="pt").images)


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"prompt": []}, r"prompts is empty"),
        ({"prompt": ["a cat", ""]}, r"prompt 1 must be a text that shows something, got ''"),
        ({"prompt": "  "}, r"prompt 0 must be a text that shows something"),
        ({"prompt": [3]}, r"prompt 0 must be a text, got 3"),
        ({"num_images_per_prompt": 0}, r"num_images_per_prompt must be a whole number from 1, got 0"),
        ({"batch_size": 1.5}, r"batch_size must be a whole number from 1, got 1.5"),
        ({"guidance_scale": -1}, r"guidance_scale must be a finite number from 0, got -1"),
        ({"guidance_scale": float("nan")}, r"guidance_scale must be .* got nan"),
        ({"guidance_scale": float("inf")}, r"guidance_scale must be .* got inf"),
        ({"output_type": "jpeg"}, r"output_type must be one of 'pil', 'pt', 'np', 'latent', got 'jpeg'"),
        ({"seed": [1, 2]}, r"seed has 2 entries; allowed are 1"),
        ({"seed": -1}, r"seed holds -1; allowed are whole numbers from 0"),
        ({"seed": 1, "generator": torch.Generator()}, r"seed and generator are both given"),
        ({"on_long": "wrap"}, r"on_long is 'wrap'; allowed are 'truncate' and 'error'"),
        ({"top_p": 2.0}, r"top_p must be a number from 0 to 1, got 2.0"),
        ({"num_maskgit_iters": 0}, r"num_maskgit_iters must be a whole number from 1, got 0"),
        ({"num_maskgit_iters": 257}, r"num_maskgit_iters must be 1 to 256, .* got 257"),
        ({"top_k": 1.5}, r"top_k must be a whole number from 0, got 1.5"),
        ({"more_smooth": "no"}, r"more_smooth must be True or False, got 'no'"),
        ({"final_stage": "1"}, r"final_stage must be a whole number, got '1'"),
        ({"progress": 1}, r"progress must be True, False or None, got 1"),
        ({"callback_on_stage_end": 5}, r"callback_on_stage_end must be a function or None, got 5"),
        ({"callback_on_step_end": "x"}, r"callback_on_step_end must be a function or None, got 'x'"),
        ({"callback_on_step_end_tensor_inputs": ["logits"]}, r"must be a list of 'latents', got \['logits'\]"),
        ({"prompt": None}, r"prompt must be a text or a list of texts, got None"),
        ({"prompt": 5}, r"prompt must be a text or a list of texts, got 5"),
        ({"prompt": b"a cat"}, r"prompt must be a text or a list of texts, got b'a cat'"),
        ({"prompt": {"a cat": 1}}, r"prompt must be a text or a list of texts, got {'a cat': 1}"),
        ({"prompt": {"a cat"}}, r"prompt must be a text or a list of texts"),
        ({"prompt": ["a cat", None]}, r"prompt 1 must be a text, got None"),
        ({"prompt": "a \udc80 cat"}, r"prompt 0 must be text that UTF-8 can hold, got '.udc80' at place 2"),
        ({"prompt": "\u200b\ufeff"}, r"prompt 0 must be a text that shows something"),
        ({"negative_prompt": ["a", "b"]}, r"negative_prompt must be a text or 1 texts, one per prompt, got 2"),
        ({"negative_prompt": 3}, r"negative_prompt must be a text or a list of texts, got 3"),
        ({"prompt_embeds": torch.zeros(1, 12, 48)}, r"prompt must be left out where prompt_embeds is given"),
    ],
)
def test_bad_arguments_are_refused_with_a_sentence(pipeline, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        pipeline(**{"prompt": "a cat", **change})


def test_a_long_prompt_is_cut_with_one_warning(pipeline, caplog):
    pipeline("the dog " * 200, seed=1, on_long="truncate", output_type="latent")
    assert len([record for record in caplog.records if "it is cut to" in record.getMessage()]) == 1
