"""What every request passes before the application: key, size and time limits, log line, counters.

A request that fails here costs no model, and an exception of the application never reaches the server.
"""

import asyncio
import hmac
import logging
import time
import traceback
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hart.serve.errors import ServiceError
from hart.serve.metrics import Metrics
from hart.serve.settings import ServiceSettings

logger = logging.getLogger(__name__)

# Paths below this one need the key.
GUARDED = "/v1/images/"
COUNTED = ("/v1/images/generations", "/health", "/metrics", "/docs", "/openapi.json")
# Beyond the time limit of pictures, for the answer to be read.
READING_SECONDS = 30.0


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete."""


@dataclass
class _Answer:
    """What has been sent of an answer so far."""

    send: Send
    status: int | None = None
    complete: bool = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self.send(message)
        self.complete = message["type"] == "http.response.body" and not message.get("more_body", False)


class Gate:
    """ASGI middleware around the service's application."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings, metrics: Metrics):
        self.app, self.settings, self.metrics = app, settings, metrics
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, answer = time.monotonic(), _Answer(send)
        self._open += 1
        try:
            await self._answered(scope, receive, answer)
        finally:
            self._open -= 1
            self._note(scope, answer, time.monotonic() - started)

    async def _answered(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        """Send an answer, whatever happens."""
        total = self.settings.body_seconds + self.settings.time_limit + READING_SECONDS
        try:
            async with asyncio.timeout(total):
                self._check(scope)
                body = await self._body(scope, receive)
                await self.app(scope, _replayed(body, receive), answer)
            return
        except ServiceError as error:
            refusal = error
        except ClientGoneError:
            return
        except TimeoutError:
            refusal = ServiceError(504, f"the answer must be read within {total:g} s, got no further.", "timeout")
        except Exception as error:
            log_failure(error, self.settings.log_prompts)
            refusal = ServiceError(500, "the service must answer every request, got a fault of its own.", "internal")
        if answer.status is None:
            await refusal.response()(scope, receive, answer)

    def _check(self, scope: Scope) -> None:
        """Refuse a request by what its head says."""
        if self._open > self.settings.open_requests:
            message = f"open requests must be {self.settings.open_requests} at most, got one more; try again in 1 s."
            raise ServiceError(503, message, "too_many_requests", headers={"Retry-After": "1"})
        key = self.settings.api_key
        if key is None or not scope["path"].startswith(GUARDED):
            return
        given = Headers(scope=scope).get("authorization", "")
        wanted = f"Bearer {key.get_secret_value()}"
        if not hmac.compare_digest(given.encode(), wanted.encode()):
            message = "Authorization must be Bearer and the service's key, got something else."
            raise ServiceError(401, message, "invalid_api_key", headers={"WWW-Authenticate": "Bearer"})

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """Read a request's body; one that is too long is read to its end and thrown away, so that clients listen."""
        headers = Headers(scope=scope)
        too_long = ServiceError(413, f"body must be {self.settings.body_bytes} bytes at most, got more.", "too_large")
        declared = headers.get("content-length", "0")
        if int(declared) > self.settings.body_bytes and "expect" in headers:
            raise too_long
        body, length = bytearray(), 0
        try:
            async with asyncio.timeout(self.settings.body_seconds):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGoneError
                    length += len(message.get("body", b""))
                    body += message.get("body", b"") if length <= self.settings.body_bytes else b""
                    more = message.get("more_body", False)
        except TimeoutError:
            slow = f"body must arrive within {self.settings.body_seconds:g} s, got a part of it."
            raise too_long if length > self.settings.body_bytes else ServiceError(408, slow, "timeout") from None
        if length > self.settings.body_bytes:
            raise too_long
        return bytes(body)

    def _note(self, scope: Scope, answer: _Answer, seconds: float) -> None:
        path = scope["path"] if scope["path"] in COUNTED else "other"
        status = str(answer.status or "gone") if answer.complete else "gone"
        self.metrics.requests.labels(path, status).inc()
        self.metrics.seconds.labels(path).observe(seconds)
        logger.info("%s %s %s %.3f s", scope["method"], path, status, seconds)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Give a body that was read before, then what comes after it."""
    waiting: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return waiting.pop() if waiting else await receive()

    return next_message


def log_failure(error: BaseException, with_message: bool) -> None:
    """Log where an exception came from; its message may quote a prompt and is left out unless asked for."""
    where = "".join(traceback.format_tb(error.__traceback__))
    message = f": {error}" if with_message else ""
    logger.error("%s%s\n%s", type(error).__name__, message, where)
