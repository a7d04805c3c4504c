"""Requests and answers of the service, as OpenAI's clients send and read them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

# JSON numbers are exact up to here in every client.
LARGEST_SEED = 2**53 - 1
PROMPT_CHARACTERS = 32_000


class ImageRequest(BaseModel):
    """Body of `POST /v1/images/generations`. `seed` is an extension; other fields are OpenAI's."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompt: Annotated[str, Field(min_length=1, max_length=PROMPT_CHARACTERS, description="what to paint")]
    model: str | None = Field(None, description="the service's model name, or null")
    n: int | None = Field(1, ge=1, description="pictures; picture i gets the seed `seed` + i")
    size: str | None = Field(None, description="the model's own size, `auto` or null")
    seed: int | None = Field(None, ge=0, le=LARGEST_SEED, description="of the first picture; null draws one")
    response_format: Literal["b64_json", "url"] | None = Field("b64_json", description="the picture or where it lies")
    stream: bool | None = Field(False, description="send server-sent events; needs n = 1 and b64_json")
    partial_images: int | None = Field(0, ge=0, le=3, description="pictures on the way, when streaming")
    output_format: Literal["png"] | None = None
    background: Literal["auto", "opaque"] | None = None
    quality: Literal["auto", "standard"] | None = None
    moderation: Literal["auto"] | None = None
    user: str | None = Field(None, description="taken and not used")


class TextAndImageTokens(BaseModel):
    """Tokens by kind."""

    image_tokens: int
    text_tokens: int


class Usage(BaseModel):
    """Tokens that the prompt has and that the pictures took."""

    input_tokens: int
    input_tokens_details: TextAndImageTokens
    output_tokens: int
    total_tokens: int


class Picture(BaseModel):
    """One picture; `seed` paints it again."""

    b64_json: str | None = Field(None, description="a PNG in base64")
    url: str | None = None
    seed: int


class ImagesAnswer(BaseModel):
    """Answer to a request that does not stream."""

    created: int = Field(description="seconds since 1970")
    data: list[Picture]
    size: str
    output_format: Literal["png"] = "png"
    background: Literal["opaque"] = "opaque"
    usage: Usage


class _Event(BaseModel):
    """What all events of a stream have."""

    b64_json: str = Field(description="a PNG in base64")
    created_at: int
    size: str
    seed: int
    output_format: Literal["png"] = "png"
    background: Literal["opaque"] = "opaque"
    quality: Literal["auto"] = "auto"


class PartialEvent(_Event):
    """The picture as it stands after a stage."""

    type: Literal["image_generation.partial_image"] = "image_generation.partial_image"
    partial_image_index: int


class CompletedEvent(_Event):
    """The finished picture."""

    type: Literal["image_generation.completed"] = "image_generation.completed"
    usage: Usage


class Health(BaseModel):
    """That the service can paint, and what."""

    status: Literal["ok"] = "ok"
    model: str
    size: str
    device: str
    waiting: int = Field(description="pictures that wait or are being painted")
