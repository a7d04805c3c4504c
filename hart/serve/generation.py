"""One request for pictures, from its checks to its answer."""

import asyncio
import base64
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request
from fastapi.responses import StreamingResponse

from hart.serve.batcher import Batcher
from hart.serve.errors import ServiceError, invalid, shown, shown_whole
from hart.serve.gate import ClientGoneError, log_failure
from hart.serve.painter import Job, Painter
from hart.serve.pictures import PictureFolder
from hart.serve.schemas import (
    CompletedEvent,
    ImageRequest,
    ImagesAnswer,
    PartialEvent,
    Picture,
    TextAndImageTokens,
    Usage,
)
from hart.serve.settings import ServiceSettings

logger = logging.getLogger(__name__)

DRAWN_SEEDS = 2**31


class Generation:
    """Answers `POST /v1/images/generations`.

    Args:
        settings: limits and names.
        painter: knows the model's size, its tokens and its safety checker.
        batcher: paints.
        pictures: keeps what is asked for as url.
    """

    def __init__(self, settings: ServiceSettings, painter: Painter, batcher: Batcher, pictures: PictureFolder):
        self.settings, self.painter, self.batcher, self.pictures = settings, painter, batcher, pictures

    async def answer(self, body: ImageRequest, request: Request) -> ImagesAnswer | StreamingResponse:
        """Check a request, paint, and return the answer.

        Raises:
            ServiceError: a refusal, or pictures that could not be painted or kept.
        """
        self.check(body)
        if self.settings.log_prompts:
            logger.info("prompt %s", ascii(body.prompt))
        usage = await asyncio.to_thread(self.check_prompt, body)
        jobs = self.jobs(body)
        if body.stream:
            return self.stream(jobs[0], usage)
        async with self.painted(jobs, request) as pngs:
            data = [await self.picture(body, job, png, request) for job, png in zip(jobs, pngs, strict=True)]
        return ImagesAnswer(created=int(time.time()), data=data, size=self.painter.size, usage=usage)

    def check(self, body: ImageRequest) -> None:
        """Refuse what the schema allows and this service has not."""
        names, sizes = (None, self.settings.model_name), (None, "auto", self.painter.size)
        if body.model not in names:
            raise ServiceError(
                404, f"model must be {names[1]}, got {shown(body.model)}.", "model_not_found", param="model"
            )
        if body.size not in sizes:
            raise invalid(f"size must be {self.painter.size} or auto, got {shown(body.size)}.", "size")
        if (body.n or 1) > self.settings.max_n:
            raise invalid(f"n must be a whole number from 1 to {self.settings.max_n}, got {body.n}.", "n")
        if body.stream and (body.n or 1) > 1:
            raise invalid(f"n must be 1 when streaming, got {body.n}.", "n")
        if body.stream and body.response_format == "url":
            raise invalid("response_format must be b64_json when streaming, got url.", "response_format")
        if body.partial_images and not body.stream:
            raise invalid(f"partial_images must be 0 without stream, got {body.partial_images}.", "partial_images")

    def check_prompt(self, body: ImageRequest) -> Usage:
        """Refuse a prompt that cannot or must not be painted; count tokens of one that can."""
        try:
            text, image = self.painter.tokens(body.prompt)
        except ValueError as error:
            why = shown_whole(error)
            raise invalid(f"prompt must be a text that the model reads whole, got another ({why}).", "prompt") from None
        try:
            refused = self.painter.is_refused(body.prompt)
        except Exception as error:
            log_failure(error, self.settings.log_prompts)
            raise ServiceError(500, "the safety checker must answer, got a fault of its own.", "internal") from None
        if refused:
            message = "prompt must be one that the safety checker allows, got one that it refuses."
            raise invalid(message, "prompt", "content_policy_violation")
        image *= body.n or 1
        details = TextAndImageTokens(image_tokens=0, text_tokens=text)
        return Usage(input_tokens=text, input_tokens_details=details, output_tokens=image, total_tokens=text + image)

    @staticmethod
    def jobs(body: ImageRequest) -> list[Job]:
        """Return one job per picture."""
        first = secrets.randbelow(DRAWN_SEEDS) if body.seed is None else body.seed
        return [Job(body.prompt, first + index, body.partial_images or 0) for index in range(body.n or 1)]

    @asynccontextmanager
    async def painted(self, jobs: Sequence[Job], request: Request) -> AsyncIterator[list[bytes]]:
        """Give the PNGs of jobs; a client that goes away or the time limit gives their places back."""
        futures = self.batcher.submit(jobs)
        gone: asyncio.Future[Any] = asyncio.ensure_future(_gone(request))
        everything: asyncio.Future[Any] = asyncio.gather(*futures)
        try:
            limit = self.settings.time_limit
            await asyncio.wait({gone, everything}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                raise ClientGoneError
            if not everything.done():
                raise self.too_slow()
            yield self.finished(everything)
        finally:
            gone.cancel()
            everything.cancel()
            for future in futures:
                future.cancel()

    def finished(self, painted: "asyncio.Future[Any]") -> Any:
        """Return what was painted, or raise the refusal that a failure becomes."""
        if painted.cancelled():
            raise ServiceError(503, "the service must be up to paint, got a shutdown.", "shutting_down")
        error = painted.exception()
        if error is not None:
            log_failure(error, self.settings.log_prompts)
            raise ServiceError(500, "the model must paint every picture, got a fault while painting.", "internal")
        return painted.result()

    def too_slow(self) -> ServiceError:
        """Return the refusal of a request that took too long."""
        limit = self.settings.time_limit
        return ServiceError(504, f"pictures must be painted within {limit:g} s, got a longer queue.", "timeout")

    async def picture(self, body: ImageRequest, job: Job, png: bytes, request: Request) -> Picture:
        """Return a picture as it was asked for."""
        if body.response_format != "url":
            return Picture(b64_json=_base64(png), url=None, seed=job.seed)
        try:
            name = await asyncio.to_thread(self.pictures.save, png)
        except OSError as error:
            log_failure(error, with_message=True)
            message = "the folder of pictures must take the picture, got a full or broken disk; ask for b64_json."
            raise ServiceError(507, message, "storage_full") from None
        base = self.settings.public_url or str(request.base_url)
        return Picture(b64_json=None, url=f"{base.rstrip('/')}/v1/pictures/{name}", seed=job.seed)

    def stream(self, job: Job, usage: Usage) -> StreamingResponse:
        """Return an answer of server-sent events; a full queue is refused here, before it begins."""
        loop = asyncio.get_running_loop()
        partials: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()

        def on_partial(index: int, png: bytes) -> None:
            loop.call_soon_threadsafe(partials.put_nowait, (index, png))

        job.on_partial = on_partial
        (future,) = self.batcher.submit([job])
        return StreamingResponse(self.events(job, usage, future, partials), media_type="text/event-stream")

    async def events(
        self, job: Job, usage: Usage, future: "asyncio.Future[bytes]", partials: "asyncio.Queue[tuple[int, bytes]]"
    ) -> AsyncIterator[str]:
        """Send pictures on the way, then the finished one, or an event that says why there is none."""
        shared: dict[str, Any] = {"created_at": int(time.time()), "size": self.painter.size, "seed": job.seed}
        try:
            async for index, png in _until(future, partials, self.settings.time_limit):
                yield _event(PartialEvent(b64_json=_base64(png), partial_image_index=index, **shared))
            yield _event(CompletedEvent(b64_json=_base64(self.finished(future)), usage=usage, **shared))
        except TimeoutError:
            yield _error_event(self.too_slow())
        except ServiceError as error:
            yield _error_event(error)
        finally:
            future.cancel()


async def _until(future: "asyncio.Future[Any]", queue: "asyncio.Queue[Any]", seconds: float) -> AsyncIterator[Any]:
    """What comes through a queue until a future is done, nothing left behind; a TimeoutError after so many seconds."""
    end = time.monotonic() + seconds
    while not (future.done() and queue.empty()):
        entry = asyncio.ensure_future(queue.get())
        left = max(0.0, end - time.monotonic())
        done, _ = await asyncio.wait({future, entry}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if entry in done:
            yield entry.result()
            continue
        entry.cancel()
        if not done:
            raise TimeoutError


async def _gone(request: Request) -> None:
    """Return when the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _base64(png: bytes) -> str:
    return base64.b64encode(png).decode("ascii")


def _event(event: PartialEvent | CompletedEvent) -> str:
    return f"event: {event.type}\ndata: {event.model_dump_json()}\n\n"


def _error_event(error: ServiceError) -> str:
    return f"event: error\ndata: {json.dumps(json.loads(bytes(error.response().body)))}\n\n"
