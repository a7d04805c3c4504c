"""Refusals as OpenAI clients read them: a status code and one sentence."""

from typing import Any, Literal

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from hart.settings import wanted

SHOWN_CHARACTERS = 60


class ErrorDetail(BaseModel):
    """What was wrong."""

    message: str = Field(description="one sentence")
    type: Literal["invalid_request_error", "server_error", "rate_limit_error"]
    param: str | None = Field(description="the field that does not fit")
    code: str | None = Field(description="the kind of fault, for programs")


class ErrorBody(BaseModel):
    """Body of every answer that is not a success."""

    error: ErrorDetail


class ServiceError(Exception):
    """A refusal, with its status code; `headers` go out with it."""

    def __init__(
        self, status: int, message: str, code: str, param: str | None = None, headers: dict[str, str] | None = None
    ):
        super().__init__(message)
        self.status, self.message, self.code, self.param, self.headers = status, message, code, param, headers

    def response(self) -> JSONResponse:
        """Return the answer to send."""
        kind: Any = "server_error" if self.status >= 500 else "invalid_request_error"
        kind = "rate_limit_error" if self.status == 429 else kind
        detail = ErrorDetail(message=self.message, type=kind, param=self.param, code=self.code)
        return JSONResponse(ErrorBody(error=detail).model_dump(), self.status, self.headers)


def invalid(message: str, param: str | None = None, code: str = "invalid_value") -> ServiceError:
    """Return the refusal of a request that can never be served."""
    return ServiceError(400, message, code, param)


def busy(pictures: int, seconds: int) -> ServiceError:
    """Return the refusal of a request that finds the queue full."""
    message = f"the queue must have room for {pictures} pictures, got a full one; try again in {seconds} s."
    return ServiceError(429, message, "queue_full", headers={"Retry-After": str(seconds)})


def shown(value: Any) -> str:
    """Return a value from a request as printable ASCII, cut short."""
    text = ascii(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."


def shown_whole(error: Exception) -> str:
    """Return an error's sentence as printable ASCII, without its full stop."""
    return ascii(" ".join(str(error).split()))[1:-1].removesuffix(".")


def sentence_of(fault: Any) -> ServiceError:
    """Return the refusal for a fault that pydantic found in a request.

    Args:
        fault: an entry of `ValidationError.errors()`, its place starting with "body".
    """
    place = [str(part) for part in fault["loc"][1:]]
    param = shown(".".join(place))[1:-1] or None
    if fault["type"] == "json_invalid":
        return invalid("body must be valid JSON, got something else.", code="invalid_json")
    if fault["type"] == "extra_forbidden":
        return invalid(f"{param} must be left out: there is no such field.", param, "unknown_parameter")
    if fault["type"] == "missing":
        return invalid(f"{param or 'body'} must be given, got nothing.", param, "missing_parameter")
    return invalid(f"{param or 'body'} must be {wanted(fault)}, got {shown(fault['input'])}.", param)
