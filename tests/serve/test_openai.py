"""The `openai` client, unchanged, against a live server."""

import base64
import io

import pytest
from PIL import Image

pytest.importorskip("hart.serve", exc_type=ImportError)
pytest.importorskip("openai")

import openai

from hart.utils.images import to_numpy
from tests.serve.live import HeldPainter


@pytest.fixture
def images(client):
    with openai.OpenAI(base_url=f"{str(client.base_url).rstrip('/')}/v1", api_key="any", max_retries=0) as api:
        yield api.images


def picture(b64_json: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(b64_json)))


def test_pictures_are_those_of_the_pipeline_at_their_seeds(images, pipeline):
    answer = images.generate(prompt="a cat", model="hart", n=2, size="128x128", extra_body={"seed": 7})
    painted = pipeline("a cat", num_images_per_prompt=2, seed=7).images
    assert [entry.seed for entry in answer.data] == [7, 8]
    assert [picture(entry.b64_json).tobytes() for entry in answer.data] == [image.tobytes() for image in painted]
    assert (answer.size, answer.output_format, answer.data[0].url) == ("128x128", "png", None)
    assert answer.usage.output_tokens == 2 * sum(side**2 for side in pipeline.model.config.patch_nums)
    assert answer.usage.input_tokens > 0 and answer.created > 1_700_000_000


def test_a_drawn_seed_is_told_and_paints_the_picture_again(images):
    first = images.generate(prompt="a cat").data[0]
    again = images.generate(prompt="a cat", extra_body={"seed": first.seed}).data[0]
    assert first.b64_json == again.b64_json


def test_a_url_leads_to_the_picture(images, client):
    with_url = images.generate(prompt="a dog", response_format="url", extra_body={"seed": 1}).data[0]
    inline = images.generate(prompt="a dog", response_format="b64_json", extra_body={"seed": 1}).data[0]
    fetched = client.get(with_url.url)
    assert with_url.b64_json is None and fetched.headers["content-type"] == "image/png"
    assert fetched.content == base64.b64decode(inline.b64_json)


def test_a_stream_shows_pictures_on_the_way(images, pipeline):
    with images.generate(prompt="a cat", stream=True, partial_images=3, extra_body={"seed": 5}) as stream:
        events = list(stream)
    assert [event.type for event in events] == ["image_generation.partial_image"] * 3 + ["image_generation.completed"]
    assert [event.partial_image_index for event in events[:3]] == [0, 1, 2]
    previews = {}
    painted = pipeline("a cat", seed=5, callback_on_stage_end=lambda at, info: previews.update({at: info.preview()}))
    stages = [to_numpy(previews[at])[0].tobytes() for at in (1, 4, 6)]  # of ten, a quarter, a half, three quarters
    assert [picture(event.b64_json).tobytes() for event in events[:3]] == stages
    assert picture(events[3].b64_json).tobytes() == painted.images[0].tobytes()
    assert events[3].seed == 5 and events[3].usage.total_tokens > 0


def test_a_stream_without_partial_images_is_one_event(images):
    events = list(images.generate(prompt="a cat", stream=True, extra_body={"seed": 5}))
    assert [event.type for event in events] == ["image_generation.completed"]


def test_what_does_not_fit_is_raised_as_the_client_has_it(images):
    with pytest.raises(openai.BadRequestError, match="size must be 128x128 or auto, got '1024x1024'") as error:
        images.generate(prompt="a cat", size="1024x1024")
    assert (error.value.param, error.value.code) == ("size", "invalid_value")
    with pytest.raises(openai.NotFoundError, match="model must be hart, got 'dall-e-3'"):
        images.generate(prompt="a cat", model="dall-e-3")


def test_a_failure_within_a_stream_is_raised(pipeline, serve):
    class Failing(HeldPainter):
        def paint(self, jobs):
            raise RuntimeError("out of memory for 'a cat'")

    client = serve(Failing(pipeline))
    with openai.OpenAI(base_url=f"{str(client.base_url).rstrip('/')}/v1", api_key="any", max_retries=0) as api:
        with pytest.raises(openai.APIError, match="the model must paint every picture"):
            list(api.images.generate(prompt="a cat", stream=True))
        with pytest.raises(openai.InternalServerError, match="the model must paint every picture"):
            api.images.generate(prompt="a cat")


def test_the_key_is_asked_for(painter, serve):
    client = serve(painter, api_key="right")
    address = f"{str(client.base_url).rstrip('/')}/v1"
    with (
        openai.OpenAI(base_url=address, api_key="wrong", max_retries=0) as api,
        pytest.raises(openai.AuthenticationError, match="Authorization must be Bearer"),
    ):
        api.images.generate(prompt="a cat")
    with openai.OpenAI(base_url=address, api_key="right", max_retries=0) as api:
        assert api.images.generate(prompt="a cat").data[0].b64_json
    assert client.get("/health").status_code == 200
