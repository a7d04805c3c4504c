"""Live servers on loopback, in a thread of the test's process."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import uvicorn

from hart.pipeline import HARTPipeline
from hart.serve.app import build_app
from hart.serve.painter import Painter
from hart.serve.settings import ServiceSettings

GENERATIONS = "/v1/images/generations"
PROMPT = {"prompt": "a cat", "seed": 3}
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
