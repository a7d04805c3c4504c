"""Painters with the tiny checkpoint, and clients of live servers; imports wait until a test has found the extra."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hart.pipeline import HARTPipeline


@pytest.fixture(scope="session")
def pipeline(checkpoint_root) -> HARTPipeline:
    return HARTPipeline.from_pretrained(checkpoint_root, dtype="float32", device="cpu", progress=False)


@pytest.fixture(scope="session")
def painter(pipeline) -> Any:
    from hart.serve.painter import Painter

    return Painter(pipeline)


@pytest.fixture
def held(pipeline) -> Iterator[Any]:
    """A painter that waits until it is let go."""
    from tests.serve.live import HeldPainter

    held = HeldPainter(pipeline)
    yield held
    held.go.set()


@pytest.fixture
def serve() -> Iterator[Callable[..., Any]]:
    """Gives a client of a new server with a painter and settings."""
    import httpx2

    from hart.serve.settings import ServiceSettings
    from tests.serve.live import running

    with contextlib.ExitStack() as stack:

        def serve(painter: Any, **settings: Any) -> httpx2.Client:
            address = stack.enter_context(running(painter, ServiceSettings(**settings)))
            return stack.enter_context(httpx2.Client(base_url=address, timeout=60))

        yield serve


@pytest.fixture(scope="session")
def client(painter) -> Iterator[Any]:
    """A client of one server for all tests that change nothing on it."""
    import httpx2

    from hart.serve.settings import ServiceSettings
    from tests.serve.live import running

    with running(painter, ServiceSettings()) as address, httpx2.Client(base_url=address, timeout=60) as client:
        yield client
