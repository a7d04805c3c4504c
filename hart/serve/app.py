"""The service's application: its paths, and what stands behind them."""

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

import hart
from hart.serve.batcher import Batcher
from hart.serve.errors import ErrorBody, ServiceError, sentence_of
from hart.serve.gate import Gate
from hart.serve.generation import Generation
from hart.serve.metrics import Metrics
from hart.serve.painter import Job, Painter
from hart.serve.pictures import PictureFolder
from hart.serve.schemas import Health, ImageRequest, ImagesAnswer
from hart.serve.settings import ServiceSettings

REFUSALS = {
    400: "a request that does not fit",
    401: "no key, or another one",
    404: "a model that is not here",
    408: "a body that came too slowly",
    413: "a body that is too long",
    429: "a full queue; Retry-After says when to try again",
    500: "a fault of the service",
    503: "too many open requests, or the service shuts down",
    504: "pictures that took too long",
    507: "no room for pictures asked for as url",
}


def build_app(settings: ServiceSettings, painter: Painter, batcher_type: type[Batcher] = Batcher) -> FastAPI:
    """Return the application.

    Args:
        settings: of the service.
        painter: the model; it is used from one thread, beside checks of prompts.
        batcher_type: who puts batches together.
    """
    metrics = Metrics()

    def counted(jobs: Sequence[Job]) -> list[bytes]:
        with metrics.painting.time():
            pngs = painter.paint(jobs)
        metrics.batches.observe(len(jobs))
        metrics.pictures.inc(len(jobs))
        return pngs

    batcher = batcher_type(counted, settings.queue_pictures, painter.batch_size, settings.batch_wait)
    metrics.occupied.set_function(lambda: batcher.occupied)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with tempfile.TemporaryDirectory(prefix="hart-pictures-") as temporary:
            folder = PictureFolder(settings.url_folder or Path(temporary), settings.url_pictures)
            app.state.pictures = folder
            app.state.generation = Generation(settings, painter, batcher, folder)
            batcher.start()
            yield
            await batcher.close()

    # FastAPI whose page of documentation asks no other host for scripts.
    app = FastAPIOffline(title="HART", version=hart.__version__, lifespan=lifespan, redoc_url=None)
    app.state.health = lambda: Health(
        model=settings.model_name, size=painter.size, device=str(painter.pipeline.device), waiting=batcher.occupied
    )
    app.state.metrics = metrics
    _add_paths(app)
    _add_refusals(app)
    app.add_middleware(Gate, settings=settings, metrics=metrics)
    return app


def _add_paths(app: FastAPI) -> None:
    refusals: dict[int | str, Any] = {code: {"model": ErrorBody, "description": why} for code, why in REFUSALS.items()}
    stream = {"description": "pictures, or server-sent events when streaming", "content": {"text/event-stream": {}}}

    @app.post(
        "/v1/images/generations",
        response_model=ImagesAnswer,
        response_model_exclude_none=True,
        responses={200: stream, **refusals},
        dependencies=[Depends(HTTPBearer(auto_error=False))],
        summary="Paint pictures of a prompt",
    )
    async def generations(body: ImageRequest, request: Request) -> Any:
        return await app.state.generation.answer(body, request)

    @app.get("/v1/pictures/{name}", response_class=FileResponse, responses={404: refusals[404]})
    def picture(name: Annotated[str, "a name from an answer's url"]) -> FileResponse:
        """Send a picture that was asked for as url."""
        path = app.state.pictures.find(name)
        if path is None:
            raise ServiceError(404, "the url must be one of a kept picture, got another.", "not_found")
        return FileResponse(path, media_type="image/png")

    @app.get("/health")
    async def health() -> Health:
        """Say that the service can paint."""
        state: Health = app.state.health()
        return state

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(app.state.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _add_refusals(app: FastAPI) -> None:
    """Make every refusal one sentence in OpenAI's form, and say so in the schema."""

    @app.exception_handler(ServiceError)
    async def refused(request: Request, error: ServiceError) -> JSONResponse:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def does_not_fit(request: Request, error: RequestValidationError) -> JSONResponse:
        return sentence_of(error.errors()[0]).response()

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> JSONResponse:
        sentences = {
            404: "the path must be one that this service has, got another; /openapi.json lists them.",
            405: "the method must be one that this path has, got another; /openapi.json lists them.",
        }
        message = sentences.get(error.status_code, "body must be valid JSON, got something else.")
        headers = dict(error.headers or {})
        return ServiceError(error.status_code, message, "invalid_request", headers=headers).response()

    described = app.openapi

    def without_422() -> dict[str, Any]:
        """FastAPI documents an answer that this service never gives."""
        schema = described()
        for path in schema["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        return schema

    app.openapi = without_422  # type: ignore[method-assign]
