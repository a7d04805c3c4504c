"""Live servers on loopback, with the tiny checkpoint."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("pydantic_settings")
pytest.importorskip("httpx2")

import httpx2
import uvicorn

from hart.pipeline import HARTPipeline
from hart.serve.app import build_app
from hart.serve.painter import Painter
from hart.serve.settings import ServiceSettings


@pytest.fixture(scope="session")
def pipeline(checkpoint_root) -> HARTPipeline:
    return HARTPipeline.from_pretrained(checkpoint_root, dtype="float32", device="cpu", progress=False)


@pytest.fixture(scope="session")
def painter(pipeline) -> Painter:
    return Painter(pipeline)


class HeldPainter(Painter):
    """Paints nothing until it is let go, and notes what it was asked for."""

    def __init__(self, pipeline: HARTPipeline, batch_size: int = 1):
        super().__init__(pipeline, batch_size=batch_size)
        self.go, self.begun, self.batches = threading.Event(), threading.Event(), []

    def paint(self, jobs):
        self.batches.append(list(jobs))
        self.begun.set()
        assert self.go.wait(30)
        return super().paint(jobs)


@pytest.fixture
def held(pipeline) -> Iterator[HeldPainter]:
    held = HeldPainter(pipeline)
    yield held
    held.go.set()


SERVERS: list[tuple[uvicorn.Server, threading.Thread]] = []


@contextlib.contextmanager
def running(painter: Painter, settings: ServiceSettings) -> Iterator[str]:
    """A server in a thread; gives its address."""
    config = uvicorn.Config(build_app(settings, painter), port=0, log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    SERVERS.append((server, thread))
    yield f"http://127.0.0.1:{port}"
    stop(*SERVERS.pop(SERVERS.index((server, thread))))


def stop(server: uvicorn.Server, thread: threading.Thread) -> None:
    """End a server as a signal does, and wait for it."""
    server.should_exit = True
    thread.join(60)
    assert not thread.is_alive()


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.01)


@pytest.fixture
def serve() -> Iterator[Callable[..., httpx2.Client]]:
    """Gives a client of a new server with a painter and settings."""
    with contextlib.ExitStack() as stack:

        def serve(painter: Painter, **settings: object) -> httpx2.Client:
            address = stack.enter_context(running(painter, ServiceSettings(**settings)))
            return stack.enter_context(httpx2.Client(base_url=address, timeout=60))

        yield serve


@pytest.fixture(scope="session")
def client(painter) -> Iterator[httpx2.Client]:
    """A client of one server for all tests that change nothing on it."""
    with running(painter, ServiceSettings()) as address, httpx2.Client(base_url=address, timeout=60) as client:
        yield client


GENERATIONS = "/v1/images/generations"
PROMPT = {"prompt": "a cat", "seed": 3}
