"""What the service can be told, beside what all programs share."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import CliSuppress

from hart.settings import Settings


class ServiceSettings(Settings):
    """Settings of `python -m hart.serve`; the environment variable of `port` is `HART_PORT`, and so on."""

    program: ClassVar[str] = "serve"
    secret: ClassVar[frozenset[str]] = frozenset({"api_key"})

    api_key: CliSuppress[SecretStr | None] = Field(None, min_length=1)
    model_name: str = Field("hart", min_length=1, description="the name by which requests may call the model")
    max_n: int = Field(10, ge=1, description="pictures of one request at most")
    queue_pictures: int = Field(64, ge=1, description="pictures that may wait or be painted; beyond that: 429")
    batch_size: int | None = Field(None, ge=1, description="pictures painted at once; 8 on a GPU, 1 on CPU by default")
    batch_wait: float = Field(0.02, ge=0, le=10, description="seconds that a batch waits to be filled")
    time_limit: float = Field(120.0, gt=0, allow_inf_nan=False, description="seconds from a request to its pictures")
    body_seconds: float = Field(10.0, gt=0, description="seconds in which a request's body must arrive")
    body_bytes: int = Field(1_000_000, ge=1_000, description="size of a request's body at most")
    open_requests: int = Field(1_000, ge=1, description="requests that may be open at once; beyond that: 503")
    url_folder: Path | None = Field(None, description="where pictures asked for as url lie; a temporary one by default")
    url_pictures: int = Field(1_000, ge=1, description="pictures kept there; the oldest go first")
    public_url: str | None = Field(None, description="how clients reach the service; as they did by default")
    log_prompts: bool = Field(False, description="write prompts, and messages that may quote them, to the log")

    @model_validator(mode="after")
    def _one_request_fits_the_queue(self) -> "ServiceSettings":
        if self.queue_pictures < self.max_n:
            raise ValueError(f"queue_pictures must be max_n ({self.max_n}) or more, got {self.queue_pictures}")
        return self
