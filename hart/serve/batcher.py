"""The bounded queue: jobs wait for their turn, those that arrive together are painted together."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from hart.serve.errors import busy
from hart.serve.painter import AbandonedError, Job

Paint = Callable[[Sequence[Job]], list[bytes]]
Entry = tuple[Job, "asyncio.Future[bytes]"]
# Weight of the newest batch in the mean time of a picture, from which Retry-After comes.
NEWEST = 0.2


class Batcher:
    """Paints jobs in batches, in order of arrival, in one thread. Used from one event loop.

    Args:
        paint: paints one batch and returns a PNG per job.
        capacity: jobs that may wait or be painted at once.
        batch_size: jobs of a batch at most.
        batch_wait: seconds that a batch waits to be filled.
    """

    def __init__(self, paint: Paint, capacity: int, batch_size: int = 1, batch_wait: float = 0.0):
        self.capacity, self.batch_size, self.batch_wait = capacity, batch_size, batch_wait
        self._paint = paint
        self._waiting: deque[Entry] = deque()
        self._painting = 0
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="painter")
        self._seconds = 1.0
        self._runner: asyncio.Task[None] | None = None

    @property
    def occupied(self) -> int:
        """Jobs that wait or are being painted."""
        return len(self._waiting) + self._painting

    def start(self) -> None:
        """Begin to paint; needs a running event loop."""
        self._runner = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Stop; what is being painted ends at its next stage, what waits is cancelled."""
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
        for _, future in self._waiting:
            future.cancel()
        self._waiting.clear()
        await asyncio.to_thread(self._thread.shutdown)

    def submit(self, jobs: Sequence[Job]) -> "list[asyncio.Future[bytes]]":
        """Queue the jobs of a request, all or none; a future that is cancelled gives its place back at once.

        Raises:
            ServiceError: 429, the queue is full.
        """
        if self.occupied + len(jobs) > self.capacity:
            raise busy(len(jobs), max(1, math.ceil(self.occupied * self._seconds)))
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[bytes]] = []
        for job in jobs:
            future = loop.create_future()
            future.add_done_callback(partial(self._finished, job))
            self._waiting.append((job, future))
            self.arrived((job, future))
            futures.append(future)
        return futures

    def arrived(self, entry: Entry) -> None:
        """Note that a job waits; another scheduler of batches does it its own way."""
        self._arrived.set()

    def _finished(self, job: Job, future: "asyncio.Future[bytes]") -> None:
        if future.cancelled():
            job.abandoned = True
            self._waiting = deque(entry for entry in self._waiting if entry[1] is not future)

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            if len(self._waiting) < self.batch_size and self.batch_wait:
                await asyncio.sleep(self.batch_wait)
            batch = [self._waiting.popleft() for _ in range(min(self.batch_size, len(self._waiting)))]
            if not self._waiting:
                self._arrived.clear()
            if batch:
                await self.paint_batch(batch)

    async def paint_batch(self, batch: list[Entry]) -> None:
        """Paint entries that no longer wait, and settle their futures."""
        jobs = [job for job, _ in batch]
        self._painting = len(batch)
        started = time.monotonic()
        try:
            pictures = await asyncio.get_running_loop().run_in_executor(self._thread, self._paint, jobs)
        except AbandonedError:
            return
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        finally:
            self._painting = 0
        self._seconds += NEWEST * ((time.monotonic() - started) / len(batch) - self._seconds)
        for (_, future), picture in zip(batch, pictures, strict=True):
            if not future.done():
                future.set_result(picture)
